"""Mamba in two columns, against its recurrence written out frame by frame under the official
names.
"""

import numpy as np
import pytest
import torch
from torch import nn

from wedefense_lite.heads import CrossEntropy
from wedefense_lite.interop.official import rename_weights

pytest.importorskip("transformers")
from wedefense_lite.models.mamba import DualColumnMamba, reverse  # noqa: E402

torch.set_num_threads(1)
INPUT, DIM, STATES, KERNEL, RANK = 12, 32, 16, 4, 2
INNER = 2 * DIM
SHAPES = {
    "mixer.A_log": (INNER, STATES),
    "mixer.D": (INNER,),
    "mixer.in_proj.weight": (2 * INNER, DIM),
    "mixer.conv1d.weight": (INNER, 1, KERNEL),
    "mixer.conv1d.bias": (INNER,),
    "mixer.x_proj.weight": (RANK + 2 * STATES, INNER),
    "mixer.dt_proj.weight": (INNER, RANK),
    "mixer.dt_proj.bias": (INNER,),
    "mixer.out_proj.weight": (DIM, INNER),
    "norm.weight": (DIM,),
}


def official_weights() -> dict[str, np.ndarray]:
    """Weights of three blocks a column, the last of which is numbered as the official sixth."""
    shapes = {
        "LL.weight": (DIM, INPUT),
        "LL.bias": (DIM,),
        "first_bn.weight": (1,),
        "first_bn.bias": (1,),
        "first_bn.running_mean": (1,),
        "first_bn.running_var": (1,),
        "conformer.norm_f.weight": (DIM,),
        "conformer.LL.weight": (DIM, 2 * DIM),
        "conformer.LL.bias": (DIM,),
        "conformer.classifier.weight": (2, DIM),
        "conformer.classifier.bias": (2,),
    }
    for side in ("f", "b"):
        shapes[f"conformer.{side}_attention_pool.weight"] = (1, DIM)
        shapes[f"conformer.{side}_attention_pool.bias"] = (1,)
    for column in ("forward", "backward"):
        for block in (0, 1, 5):
            for name, shape in SHAPES.items():
                shapes[f"conformer.{column}_layers.{block}.{name}"] = shape
    rng = np.random.default_rng(1)
    weights = {}
    for name, shape in shapes.items():
        values = rng.standard_normal(shape)
        if name.endswith(("norm.weight", "norm_f.weight", "bn.weight", "running_var", ".D")):
            values = 1 + 0.1 * np.abs(values)
        elif len(shape) > 1:
            values /= np.sqrt(np.prod(shape[1:]))
        weights[name] = values
    return weights


def silu(values: np.ndarray) -> np.ndarray:
    return values / (1 + np.exp(-values))


def mixed(frames_FE: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A selective state space (Gu and Dao, 2023, algorithm 2) over one utterance."""
    inner_FI, gate_FI = np.split(frames_FE @ weights[f"{name}.in_proj.weight"].T, 2, axis=1)
    padded_FI = np.pad(inner_FI, ((KERNEL - 1, 0), (0, 0)))
    kernel_IK = weights[f"{name}.conv1d.weight"][:, 0]
    rate_IS = -np.exp(weights[f"{name}.A_log"])
    state_IS = np.zeros((INNER, STATES))
    outputs = []
    for frame in range(len(frames_FE)):
        window_KI = padded_FI[frame : frame + KERNEL]
        value_I = silu((window_KI * kernel_IK.T).sum(0) + weights[f"{name}.conv1d.bias"])
        step_R, enter_S, leave_S = np.split(
            weights[f"{name}.x_proj.weight"] @ value_I, [RANK, RANK + STATES]
        )
        step_I = weights[f"{name}.dt_proj.weight"] @ step_R + weights[f"{name}.dt_proj.bias"]
        step_I1 = np.log1p(np.exp(step_I))[:, None]
        state_IS = np.exp(step_I1 * rate_IS) * state_IS + step_I1 * enter_S * value_I[:, None]
        output_I = state_IS @ leave_S + weights[f"{name}.D"] * value_I
        outputs.append(output_I * silu(gate_FI[frame]))
    return np.stack(outputs) @ weights[f"{name}.out_proj.weight"].T


def normed(frames_FE: np.ndarray, weight_E: np.ndarray) -> np.ndarray:
    square_F1 = (frames_FE**2).mean(1, keepdims=True)
    return frames_FE / np.sqrt(square_F1 + 1e-5) * weight_E


def column(frames_FE: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Mean of a column, whose last block adds to the residual and isn't used beyond that."""
    hidden_FE = frames_FE
    residual_FE = np.zeros_like(frames_FE)
    for block in (0, 1, 5):
        prefix = f"conformer.{name}_layers.{block}"
        residual_FE = residual_FE + hidden_FE
        hidden_FE = mixed(
            normed(residual_FE, weights[f"{prefix}.norm.weight"]), weights, f"{prefix}.mixer"
        )
    states_FE = normed(frames_FE + residual_FE, weights["conformer.norm_f.weight"])
    pool = f"conformer.{name[0]}_attention_pool"
    scores_F = states_FE @ weights[f"{pool}.weight"][0] + weights[f"{pool}.bias"]
    shares_F = np.exp(scores_F - scores_F.max())
    return shares_F @ states_FE / shares_F.sum()


def official_logits(frames_FD: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    frames_FE = frames_FD @ weights["LL.weight"].T + weights["LL.bias"]
    frames_FE = frames_FE - weights["first_bn.running_mean"]
    frames_FE = frames_FE / np.sqrt(weights["first_bn.running_var"] + 1e-5)
    frames_FE = frames_FE * weights["first_bn.weight"] + weights["first_bn.bias"]
    frames_FE = nn.functional.selu(torch.from_numpy(frames_FE)).numpy()
    means = (column(frames_FE, weights, "forward"), column(frames_FE[::-1], weights, "backward"))
    embedding_E = weights["conformer.LL.weight"] @ np.concatenate(means)
    embedding_E = embedding_E + weights["conformer.LL.bias"]
    return (
        weights["conformer.classifier.weight"] @ embedding_E + weights["conformer.classifier.bias"]
    )


@torch.no_grad()
def test_two_columns_are_the_recurrence_of_their_authors():
    weights = official_weights()
    official = {name: torch.from_numpy(values) for name, values in weights.items()}
    system = nn.ModuleDict(
        {"model": DualColumnMamba(INPUT, DIM, blocks=2), "head": CrossEntropy(DIM)}
    )
    state = rename_weights("xlsr_mamba", official)
    state["model.norm.num_batches_tracked"] = torch.tensor(1)
    system.load_state_dict(state, strict=True)
    system.eval()
    frames_BFD = torch.randn(2, 23, INPUT, generator=torch.Generator().manual_seed(2))
    lengths_B = torch.tensor([23, 17])
    logits_BC = system.head(system.model(frames_BFD, lengths_B))
    for logits_C, frames_FD, length in zip(logits_BC, frames_BFD, lengths_B):
        expected_C = official_logits(frames_FD[:length].double().numpy(), weights)
        np.testing.assert_allclose(logits_C, expected_C, rtol=0, atol=1e-5 * abs(expected_C).max())


def test_frames_are_reversed_within_their_utterance():
    frames_BFE = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [0.0]]])
    reversed_BFE = reverse(frames_BFE, torch.tensor([3, 2]))
    assert reversed_BFE[..., 0].tolist() == [[3.0, 2.0, 1.0], [5.0, 4.0, 0.0]]


def test_the_published_size_without_the_blocks_whose_output_is_not_used():
    """Of emb_size 144 and num_encoders 12: a column has five of six blocks."""
    model = DualColumnMamba(1024)
    count = sum(parameter.numel() for parameter in model.parameters())
    inner = 2 * 144
    mixer = inner * (16 + 1) + 2 * inner * 144 + inner * (4 + 1)
    mixer += (9 + 2 * 16) * inner + inner * (9 + 1) + 144 * inner
    columns = 10 * (144 + mixer) + 144
    pooling = 2 * (144 + 1) + 2 * 144 * 144 + 144
    assert count == 1024 * 144 + 144 + 2 + columns + pooling
