"""Durations of the audio files of a wav.scp."""

from wedefense_lite import cli

from jsonargparse.typing import PositiveInt

from wedefense_lite.audio import reading
from wedefense_lite.audio.data_dir import durations
from wedefense_lite.audio.index import read_wavs
from wedefense_lite.files import check_writable, write_table


def wav2dur(
    wav_scp: str,
    utt2dur: str,
    num_threads: PositiveInt = 8,
    sample_rate: PositiveInt = 16000,
    allow_pipes: bool = False,
):
    """Write the durations of the audio files of a wav.scp, in seconds.

    Where headers can lie, as of MP3, samples are counted by decoding. The log says how many files
    have which container, sample rate and channels.

    Args:
        wav_scp: lines "utt path" or "utt command |".
        utt2dur: the table to write, lines "utt seconds".
        num_threads: threads that read headers, and count where those can lie.
        sample_rate: rate in Hz of the systems; the log says how many files have to be converted.
        allow_pipes: run the commands "utt command |" of the wav.scp.
    """
    if allow_pipes:
        reading.allow_pipes()
    check_writable(utt2dur)
    write_table(utt2dur, durations(read_wavs(wav_scp), sample_rate, num_threads))


if __name__ == "__main__":
    cli.run(wav2dur, positional=True)
