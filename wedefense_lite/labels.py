"""Polarity, said once.

Spoof is class 0 and bona fide is class 1, logits are ``[spoof, bonafide]``, and a higher score is
always *more bona fide*: LLR = log p(x | bonafide) - log p(x | spoof).
"""

SPOOF, BONAFIDE = 0, 1
LABELS = ("spoof", "bonafide")
POLARITY = "higher is bonafide"


def label_id(label: str) -> int:
    """Class index of a label name.

    Raises:
        ValueError: the name is not exactly ``spoof`` or ``bonafide``.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}, expected one of {', '.join(LABELS)}")
    return LABELS.index(label)
