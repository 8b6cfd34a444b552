"""The reference values are drawn by the rules that their README states, and need no file of
others.
"""

import numpy as np
import pytest
import refvectors
from refvectors import FIDELITY, fill


def entry(rule, shape, **options):
    return {"name": "layer.weight", "rule": rule, "shape": shape} | options


def test_a_matrix_has_unit_gain():
    values = fill.draw(1, entry("matrix", [300, 20, 3]))
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(60**-0.5, rel=0.02)


def test_a_tensor_is_drawn_by_seed_and_name_alone():
    values = fill.draw(1, entry("vector", [5]))
    again = fill.draw(1, entry("vector", [5], name="other", drawn_as="layer.weight"))
    np.testing.assert_array_equal(values, again)
    assert (values != fill.draw(2, entry("vector", [5]))).all()
    assert (values != fill.draw(1, entry("vector", [5], name="layer.bias"))).all()


def test_a_wave_is_of_16_bits_and_below_full_scale():
    waves = fill.draw(3, entry("wave", [2, 8000])) * 32768
    np.testing.assert_array_equal(waves, np.round(waves))
    assert 1000 < np.abs(waves).max() < 32768


def test_counters_are_one_and_variances_at_least_one():
    assert fill.draw(1, entry("count", [])) == 1
    assert fill.draw(1, entry("variance", [100])).min() >= 1


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"layer.weight: unknown rule 'magic'"):
        fill.draw(1, entry("magic", [1]))


@pytest.mark.parametrize("path", sorted(FIDELITY.glob("*.json")), ids=lambda path: path.stem)
def test_each_set_can_be_drawn_and_has_expected_values(path):
    assert path.with_suffix(".npz").exists()
    listing = refvectors.json.loads(path.read_text())
    for part in {"state", "inputs"} & set(listing):
        arrays = fill.fill(path, part)
        for row in listing[part]:
            if row["rule"] != "computed":
                assert list(arrays[row["name"]].shape) == row["shape"]
                assert np.isfinite(arrays[row["name"]]).all()


def test_a_set_of_another_seed_has_other_values_of_the_same_shapes(monkeypatch, tmp_path):
    first = refvectors.Reference("nes2net_x")
    listing = refvectors.json.loads((FIDELITY / "nes2net_x.json").read_text())
    listing["seed"] += 1
    (tmp_path / "nes2net_x.json").write_text(refvectors.json.dumps(listing))
    np.savez(tmp_path / "nes2net_x.npz", **first.expected)
    monkeypatch.setattr(refvectors, "FIDELITY", tmp_path)
    second = refvectors.Reference("nes2net_x")
    assert second.weights.keys() == first.weights.keys()
    for name, values in second.weights.items():
        assert values.shape == first.weights[name].shape
    assert (second.inputs["features"] != first.inputs["features"]).all()


def test_files_of_other_people_are_skipped_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(refvectors, "OTHERS", tmp_path)
    mark = refvectors.needs("metrics/scores.txt").mark
    assert mark.args == (True,)
    assert "WEDEFENSE_REFERENCE" in mark.kwargs["reason"] and "scores.txt" in mark.kwargs["reason"]
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/scores.txt").touch()
    assert refvectors.needs("metrics/scores.txt").mark.args == (False,)
