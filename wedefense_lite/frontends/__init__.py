"""Waveform to frames. Importing the package makes the short class names known to configurations."""

from wedefense_lite.frontends.base import Frontend
from wedefense_lite.frontends.distillmos import DistillMOS
from wedefense_lite.frontends.spec_augment import SpecAugment
from wedefense_lite.frontends.spectral import LFCC, Fbank, LogSpectrogram, MatlabLFCC
from wedefense_lite.frontends.ssl import SSL
from wedefense_lite.frontends.whisper import Whisper

__all__ = [
    "LFCC",
    "SSL",
    "DistillMOS",
    "Fbank",
    "Frontend",
    "LogSpectrogram",
    "MatlabLFCC",
    "SpecAugment",
    "Whisper",
]
