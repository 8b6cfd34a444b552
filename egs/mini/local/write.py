"""Files of the corpus: audio, protocols as ASVspoof 2019 LA has them, and a manifest of origins."""

from pathlib import Path

from plan import ATTACKS, Item
from sources import SETS

from wedefense_lite.files import write_lines

PROTOCOL = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def flac_path(out: Path, item: Item) -> Path:
    """Where the audio of an utterance is."""
    return out / f"LA/ASVspoof2019_LA_{item.set}/flac/{item.utterance}.flac"


def manifest_row(item: Item, seconds: float) -> dict:
    """What the manifest says of one file."""
    what = ATTACKS.get(item.attack)
    request, source = item.request, item.source
    licences = ([] if request else [source.licence]) + ([what.licence] if what else [])
    return {
        "utterance": item.utterance,
        "set": item.set,
        "speaker": item.speaker,
        "attack": item.attack,
        "method": what.method if what else "human",
        "voice": request.voice if request else source.speaker,
        "language": source.language,
        "seconds": f"{seconds:.2f}",
        "licence": "; ".join(licences),
        "package": source.package,
        "source": source.name,
        "text": source.text or "-",
    }


def write_tables(out: Path, rows: list[dict]) -> None:
    """The manifest, and for each set the protocol ``speaker utterance - attack label``."""
    rows.sort(key=lambda row: (SETS.index(row["set"]), row["utterance"]))
    write_lines(
        out / "manifest.tsv", ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    )
    for name in SETS:
        path = out / f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{PROTOCOL[name]}.txt"
        write_lines(path, (_protocol_line(row) for row in rows if row["set"] == name))


def _protocol_line(row: dict) -> str:
    label = "bonafide" if row["attack"] == "-" else "spoof"
    return f"{row['speaker']} {row['utterance']} - {row['attack']} {label}"
