"""A list of the audio files of a wav.scp, for reading without shards."""

from wedefense_lite import cli

from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite.audio import reading
from wedefense_lite.audio.index import read_corpus, write_raw_list
from wedefense_lite.files import check_writable


def make_raw_list(
    wav_scp: str,
    utt2lab: str,
    raw_list: str,
    num_threads: PositiveInt = 8,
    sample_rate: NonNegativeInt = 16000,
    allow_pipes: bool = False,
):
    """List the audio files of a wav.scp as JSON lines with key, wav, lab, samples and rate.

    Args:
        wav_scp: lines "utt path" or "utt command |".
        utt2lab: lines "utt bonafide|spoof"; none where nobody knows the labels.
        raw_list: the list to write.
        num_threads: threads that decode.
        sample_rate: rate of the system in Hz; the log says how many files will be converted to it
            when they are read; 0 for each its own.
        allow_pipes: run the commands "utt command |" of the wav.scp.
    """
    if allow_pipes:
        reading.allow_pipes()
    check_writable(raw_list)
    write_raw_list(raw_list, read_corpus(wav_scp, utt2lab, sample_rate, num_threads))


if __name__ == "__main__":
    cli.run(make_raw_list, positional=True)
