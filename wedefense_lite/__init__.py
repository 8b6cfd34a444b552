"""Speech spoof detection: train, score, calibrate and evaluate, as recipes."""

from wedefense_lite import interruption

import os

__version__ = "0.1.0"

# ONNX Runtime reports its use to its makers, and keeps a file of it in the user's cache, unless it
# is told before it is imported. What scores recordings sends nothing anywhere.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# OpenMP threads that wait for each other spin for milliseconds by default, which slows down a
# training many times where other processes use the same cores. Asleep at once (a policy of passive)
# they take half as long again on a quiet machine, as each must be woken. Tens of microseconds cost
# neither. GNU's OpenMP reads this when PyTorch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

interruption.leave_at_once()


def load(folder, device="cpu", trim=True):
    """The ``wedefense_lite.scoring.bundle.Detector`` of a folder that ``bin/export_bundle.py``
    wrote, or of an experiment after stage 6, or the ``OnnxDetector`` of an ONNX file.

    Args:
        folder: its path.
        device: where to compute.
        trim: whether the speech of a recording is scored, and not all of it.
    """
    # So that importing the package stays light.
    from wedefense_lite.scoring.recording_scores import load_detector

    return load_detector(str(folder), device, trim)
