"""Speech spoof detection: train, score, calibrate and evaluate, as recipes."""

__version__ = "0.1.0"
