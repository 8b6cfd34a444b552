"""The benchmark of training says what the trainer, the bare loop and scoring do in a second."""

import re

import commands
import pytest
import tiny


def test_rates_and_their_ratio_are_printed(tmp_path, capsys):
    config = tiny.write_config(tmp_path)
    status, said = commands.run_script(
        tmp_path, "tools/benchmark_training.py", "--config", config, "--steps", 2
    )
    assert status == 0, said
    printed = capsys.readouterr().out
    rates = {
        name.strip(): float(rate)
        for name, rate in re.findall(r"^(.*?) +([\d.]+) utt/s$", printed, re.MULTILINE)
    }
    assert set(rates) == {"the trainer", "the bare loop", "scoring one by one", "scoring 4 at once"}
    ratio = float(re.search(r"takes ([\d.]+) of the bare loop's time", printed)[1])
    assert ratio == pytest.approx(rates["the bare loop"] / rates["the trainer"], rel=0.1)
