"""An utterance: where its audio is, and what is known of it."""

from dataclasses import dataclass, field

from wedefense_lite.audio.segments import Segments


@dataclass(frozen=True, slots=True)
class Utterance:
    """One row of an index: where an utterance's audio is.

    Attributes:
        key: the utterance's id.
        path: an audio file, a tar shard, or ``command |`` whose output is an audio file.
        offset: byte offset of the audio file inside ``path``.
        size: byte count of the audio file inside ``path``; 0 stands for all of ``path``.
        samples: length; 0 where it is not known before reading.
        label: ``spoof``, ``bonafide``, or None where unknown.
        data: the bytes of the audio file, where they are in memory already.
        segments: its labelled parts, where they are known.
        talkers: of a mixture, the stem of each talker, where they are known; without ``path``, its label only.
    """

    key: str
    path: str
    offset: int = 0
    size: int = 0
    samples: int = 0
    label: str | None = None
    data: bytes | None = field(default=None, repr=False)
    segments: Segments | None = field(default=None, repr=False, compare=False)
    talkers: tuple["Utterance", ...] = field(default=(), repr=False, compare=False)
