"""Polarity, said once.

Spoof is class 0 and bona fide is class 1, logits are ``[spoof, bonafide]``, and a higher score is
always *more bona fide*: LLR = log p(x | bonafide) - log p(x | spoof).
"""

SPOOF, BONAFIDE = 0, 1
LABELS = ("spoof", "bonafide")
POLARITY = "higher is bonafide"
NO_LABEL = -1  # class index where no label is known, or where there is no audio
NO_LABELS = "none"  # in place of a file of labels, where nobody knows them
# Names of the classes in other corpora and their keys, in lower case; any other name is refused.
SYNONYMS = {
    "genuine": "bonafide",
    "bona-fide": "bonafide",
    "bona_fide": "bonafide",
    "real": "bonafide",
    "human": "bonafide",
    "fake": "spoof",
    "spoofed": "spoof",
    "deepfake": "spoof",
}


def label_of_word(word: str) -> str:
    """Label ``spoof`` or ``bonafide`` of a word of somebody's key, in any case.

    Raises:
        ValueError: the word is none of the labels and their synonyms.
    """
    lower = word.lower()
    label = SYNONYMS.get(lower, lower)
    if label not in LABELS:
        expected = ", ".join((*LABELS, *SYNONYMS))
        raise ValueError(f"label {word!r}, expected one of {expected}")
    return label


def label_id(label: str) -> int:
    """Class index of a label name.

    Raises:
        ValueError: the name is not exactly ``spoof`` or ``bonafide``.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}, expected one of {', '.join(LABELS)}")
    return LABELS.index(label)
