"""Polarity, said once.

Spoof is class 0 and bona fide is class 1, logits are ``[spoof, bonafide]``, and a higher score is
always *more bona fide*: LLR = log p(x | bonafide) - log p(x | spoof).
"""

SPOOF, BONAFIDE = 0, 1
LABELS = ("spoof", "bonafide")
POLARITY = "higher is bonafide"
NO_LABEL = -1  # class index where no label is known, or where there is no audio


def label_id(label: str) -> int:
    """Class index of a label name.

    Raises:
        ValueError: the name is not exactly ``spoof`` or ``bonafide``.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}, expected one of {', '.join(LABELS)}")
    return LABELS.index(label)
