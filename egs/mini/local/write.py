"""Files of the corpus: audio, protocols as ASVspoof 2019 LA has them, and a manifest of origins."""

from pathlib import Path

from plan import ATTACKS, Item
from sources import SETS

from wedefense_lite.files import NO_VALUE, write_lines
from wedefense_lite.labels import BONAFIDE, LABELS, SPOOF

PROTOCOL = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def flac_path(out: Path, item: Item) -> Path:
    """Path of the audio of an utterance."""
    return out / f"LA/ASVspoof2019_LA_{item.set}/flac/{item.utterance}.flac"


def manifest_row(item: Item, seconds: float) -> dict[str, str]:
    """Origins of an utterance, by column of the manifest.

    Args:
        item: the utterance.
        seconds: duration of its audio.
    """
    source = item.source
    method = "human"
    licences = []
    if item.request is None:  # its samples are those of a recording
        licences.append(source.licence)
        voice = source.speaker
    else:
        voice = item.request.voice
    if item.attack in ATTACKS:
        method = ATTACKS[item.attack].method
        licences.append(ATTACKS[item.attack].licence)
    return {
        "utterance": item.utterance,
        "set": item.set,
        "speaker": item.speaker,
        "attack": item.attack,
        "method": method,
        "voice": voice,
        "language": source.language,
        "seconds": f"{seconds:.2f}",
        "licence": "; ".join(licences),
        "package": source.package,
        "source": source.name,
        "text": source.text or NO_VALUE,
    }


def write_tables(out: Path, rows: list[dict[str, str]]) -> None:
    """Write the manifest, and for each set the protocol ``speaker utterance - attack label``.

    Args:
        out: folder of the corpus.
        rows: of the manifest, in any order; they are sorted in place.
    """
    rows.sort(key=lambda row: (SETS.index(row["set"]), row["utterance"]))
    lines = ["\t".join(row.values()) for row in rows]
    write_lines(out / "manifest.tsv", ["\t".join(rows[0]), *lines])
    for name in SETS:
        path = out / f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{PROTOCOL[name]}.txt"
        write_lines(path, [_protocol_line(row) for row in rows if row["set"] == name])


def _protocol_line(row: dict[str, str]) -> str:
    label = LABELS[BONAFIDE] if row["attack"] == NO_VALUE else LABELS[SPOOF]
    return f"{row['speaker']} {row['utterance']} - {row['attack']} {label}"
