"""Every utterance comes out once, in list order, whatever reads it and however many processes."""

import itertools
import json

import numpy as np
import pytest
from conftest import SETS, arrays_of

MATRIX = list(itertools.product(("raw", "shard"), (1, 2), (0, 2)))


@pytest.fixture(scope="module")
def extracted(prepared, trained):
    """Embeddings of eval by (list kind, processes, workers)."""
    folder, typed = prepared
    found = {}
    for kind, processes, workers in MATRIX:
        out = f"exp/once/{kind}{processes}{workers}/embedding"
        start = (
            "python" if processes == 1 else f"torchrun --standalone --nproc_per_node={processes}"
        )
        typed(
            f"{start} wedefense_lite/bin/extract.py --config {trained}/config.yaml --data_type {kind} "
            f"--model_path {trained}/models/best_model.pt --data_list data/eval/{kind}.list "
            f"--embed_ark {out}.ark --num_workers {workers} --batch_size {1 + 15 * (workers > 0)}"
        )
        found[kind, processes, workers] = arrays_of(folder, f"{out}.ark")
    return found


@pytest.mark.parametrize("case", MATRIX)
def test_embeddings_agree_and_keep_the_list_order(extracted, prepared, case):
    lines = (prepared[0] / "data/eval/raw.list").read_text().splitlines()
    listed = [json.loads(line)["key"] for line in lines]
    assert list(extracted[case]) == listed and len(listed) == SETS["eval"][2]
    reference = extracted["raw", 1, 0]
    for key in listed:
        scale = np.abs(reference[key]).max()
        np.testing.assert_allclose(extracted[case][key], reference[key], rtol=0, atol=1e-5 * scale)


def test_stale_parts_of_an_earlier_run_are_not_taken_up(prepared, trained):
    folder, typed = prepared
    stale = folder / "exp/stale/embedding.part7.ark"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"stale")
    stale.with_suffix(".scp").write_text("LA_E_9999999 exp/stale/embedding.part7.ark:13\n")
    typed(extract(trained, "data/eval/raw.list", "exp/stale/embedding.ark"))
    assert len(arrays_of(folder, "exp/stale/embedding.ark")) == SETS["eval"][2]


def extract(exp_dir: str, data_list: str, ark: str) -> str:
    return (
        f"python wedefense_lite/bin/extract.py --config {exp_dir}/config.yaml --data_type raw "
        f"--model_path {exp_dir}/models/best_model.pt --data_list {data_list} --embed_ark {ark}"
    )


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_file_that_cannot_be_read_fails_stage_4_by_name_and_keeps_the_old_output(
    prepared, trained, tmp_path, damage
):
    folder, typed = prepared
    ark, broken = "exp/broken/embedding.ark", tmp_path / "broken.flac"
    typed(extract(trained, "data/eval/raw.list", ark))
    before = (folder / ark).read_bytes()
    rows = [json.loads(line) for line in (folder / "data/eval/raw.list").read_text().splitlines()]
    if damage == "truncated":
        with open(rows[3]["wav"], "rb") as whole:
            broken.write_bytes(whole.read()[:-3000])
    rows[3]["wav"] = str(broken)
    (tmp_path / "raw.list").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = typed(extract(trained, tmp_path / "raw.list", ark), status=2)
    assert rows[3]["key"] in said and "broken.flac" in said
    assert (folder / ark).read_bytes() == before


def test_a_missing_file_fails_stage_2_by_name_and_keeps_the_old_shards(prepared, tmp_path):
    folder, typed = prepared
    data = folder / "data/dev"
    before = {path.name: path.read_bytes() for path in (data / "shards").iterdir()}
    lines = (data / "wav.scp").read_text().splitlines()
    key = lines[5].split()[0]
    lines[5] = f"{key} {tmp_path}/no.flac"
    (tmp_path / "wav.scp").write_text("\n".join(lines) + "\n")
    for tool in ("make_shard_list.py", "make_raw_list.py"):
        out = "data/dev/shards data/dev/shard.list" if "shard" in tool else "data/dev/raw.list"
        said = typed(f"python tools/{tool} {tmp_path}/wav.scp data/dev/utt2lab {out}", status=2)
        assert key in said and "no.flac" in said
    assert {path.name: path.read_bytes() for path in (data / "shards").iterdir()} == before
