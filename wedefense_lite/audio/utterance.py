"""The utterance: one row of every list of audio."""

from dataclasses import dataclass, field
from typing import NamedTuple

from wedefense_lite.audio.resampling import resampled_length
from wedefense_lite.audio.segments import Segments


class Corpus(NamedTuple):
    """The corpus that an utterance of several corpora is from.

    Attributes:
        name: its name.
        number: its place among the names of all corpora of the list, sorted; from 0.
    """

    name: str
    number: int


# Never changed, but not frozen either: to make a frozen one takes four times as long, and an index
# has millions.
@dataclass(slots=True, unsafe_hash=True)
class Utterance:
    """One row of an index: the place, the length and the label of an utterance's audio.

    For example ``Utterance("u1", "shards_0.tar", offset=1536, size=9000, samples=48000,
    label="spoof")`` is 3 s in the middle of a shard.

    Attributes:
        key: id of the utterance.
        path: an audio file, a tar shard, or ``command |`` whose output is an audio file.
        offset: byte offset of the audio file inside ``path``.
        size: byte count of the audio file inside ``path``; 0 stands for all of ``path``.
        samples: length of the audio at its own rate; 0 where it is unknown before reading.
        label: ``spoof``, ``bonafide``, or None where unknown.
        data: bytes of the audio file, where they are in memory already.
        segments: labelled segments, for tasks that localize.
        source: class of what made it, for source tracing; None where there is none.
        stems: stems of a mixture, one a talker, for tasks on mixtures. A stem without ``path`` only
            states the talker's label.
        rate: sample rate of the audio file in Hz; 0 where it is unknown, and then that of the
            system that reads it.
        format: name of the format of a file that doesn't say it itself, such as ``g722``.
        corpus: corpus that the utterance is from, where a list has several.
        part: number of the slice that is trained on, from 0 on; None for any part.
        first: sample that the window which is scored begins with, at the rate of the system; None
            leaves that to the configuration.
    """

    key: str
    path: str
    offset: int = 0
    size: int = 0
    samples: int = 0
    label: str | None = None
    data: bytes | None = field(default=None, repr=False)
    segments: Segments | None = field(default=None, repr=False, compare=False)
    source: int | None = field(default=None, repr=False, compare=False)
    stems: tuple["Utterance", ...] = field(default=(), repr=False, compare=False)
    rate: int = 0
    format: str = ""
    corpus: Corpus | None = field(default=None, repr=False, compare=False)
    part: int | None = None
    first: int | None = None

    def samples_at(self, sample_rate: int) -> int:
        """Length of the audio at another rate; 0 where it is unknown."""
        if self.rate in (0, sample_rate):
            return self.samples
        return resampled_length(self.samples, self.rate, sample_rate)
