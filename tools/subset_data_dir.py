"""A part of a data directory as another: by list, class, condition, number."""

from wedefense_lite import cli

from typing import Literal

from jsonargparse.typing import NonNegativeInt, PositiveInt

from wedefense_lite.audio.subsets import (
    Order,
    listed,
    read_data_dir,
    select,
    some,
    with_values,
    write_data_dir,
)
from wedefense_lite.files import InputError, first_fields


def subset_data_dir(
    src_dir: str,
    dest_dir: str,
    utt_list: str | None = None,
    spk_list: str | None = None,
    label: Literal["bonafide", "spoof"] | None = None,
    by: str | None = None,
    values: str | None = None,
    num: PositiveInt | None = None,
    num_per: str | None = None,
    order: Order = "random",
    seed: NonNegativeInt = 0,
):
    """Write the utterances of a data directory that all options select, with all of its tables.

    Audio stays where it is; lists of stage 2 have to be made anew.

    Args:
        src_dir: data directory with a wav.scp.
        dest_dir: data directory to write.
        utt_list: file whose lines begin with an utterance, such as another utt2lab.
        spk_list: file whose lines begin with a speaker.
        label: class of the utterances.
        by: condition: attack, speaker, or a column of meta.tsv.
        values: comma list of values of the condition.
        num: number of utterances, drawn last.
        num_per: label, attack, speaker or a column of meta.tsv: "num" for each value of it.
        order: of which "num" utterances are: random ones, the first or last ones of the list, or
            the shortest ones by utt2dur.
        seed: of the random choice.
    """
    if bool(by) != bool(values):
        raise InputError("--by and --values go together, and one of them is not given")
    if num_per and not num:
        raise InputError("--num_per goes with --num, which is not given")
    data = read_data_dir(src_dir)
    if utt_list:
        data = select(data, listed(data, utt_list))
    if spk_list:
        data = select(data, with_values(data, "speaker", first_fields(spk_list)))
    if label:
        data = select(data, with_values(data, "label", [label]))
    if by and values:
        data = select(data, with_values(data, by, values.split(",")))
    if num:
        data = select(data, some(data, num, order, seed, num_per))
    write_data_dir(dest_dir, data)


if __name__ == "__main__":
    cli.run(subset_data_dir, positional=True)
