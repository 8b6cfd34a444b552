"""Two bidirectional LSTM layers with a shortcut around both.

Letters: B utterances of a batch, F frames, E features of a frame, H features of a direction, W
directions of a layer.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from wedefense_lite.frontends.base import is_exporting

DIRECTIONS = ("", "_reverse")  # ends of the names of their weights
OPSET = 18  # of ONNX, whose operator LSTM has been the same since 14


def shortcut_lstm(dim: int) -> nn.LSTM:
    """Two bidirectional LSTM layers with outputs as large as their inputs, for a shortcut."""
    # Both directions together give ``dim`` features.
    return nn.LSTM(dim, dim // 2, num_layers=2, batch_first=True, bidirectional=True)


def add_recurrence(lstm: nn.LSTM, hidden_BFE: Tensor, lengths_B: Tensor) -> Tensor:
    """``hidden_BFE`` plus the outputs of an LSTM that reads valid frames only, 0 behind them."""
    if is_exporting():
        return hidden_BFE + _lstm_of_graph(lstm, hidden_BFE)
    # Packed, the backward direction begins at an utterance's last frame, not in the padding. The
    # lengths are needed on the CPU.
    packed = pack_padded_sequence(
        hidden_BFE, lengths_B.cpu(), batch_first=True, enforce_sorted=False
    )
    packed_outputs, _ = lstm(packed)
    outputs_BFE, _ = pad_packed_sequence(
        packed_outputs, batch_first=True, total_length=hidden_BFE.shape[1]
    )
    return hidden_BFE + outputs_BFE


def _lstm_of_graph(lstm: nn.LSTM, hidden_BFE: Tensor) -> Tensor:
    """Outputs ``BFE`` of an LSTM in a graph that is being written.

    The exporter of PyTorch would write each frame by itself, which a graph for any length can't
    have. ONNX has an operator for a layer:
    https://onnx.ai/onnx/operators/onnx__LSTM.html.
    """
    outputs_FBE = hidden_BFE.transpose(0, 1)
    frames, rows, _ = outputs_FBE.shape
    for layer in range(lstm.num_layers):
        weights = [_stacked(lstm, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh")]
        biases = [_stacked(lstm, f"{kind}_l{layer}") for kind in ("bias_ih", "bias_hh")]
        (outputs_FWBH,) = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            (outputs_FBE, *weights, torch.cat(biases, 1)),
            {"hidden_size": lstm.hidden_size, "direction": "bidirectional"},
            dtypes=(torch.float32,),
            shapes=((frames, len(DIRECTIONS), rows, lstm.hidden_size),),
            version=OPSET,
        )
        outputs_FBE = outputs_FWBH.transpose(1, 2).flatten(2)
    return outputs_FBE.transpose(0, 1)


def _stacked(lstm: nn.LSTM, name: str) -> Tensor:
    """A parameter of a layer for both directions, its gates in the order of ONNX.

    PyTorch has input, forget, cell and output gates, ONNX input, output, forget and cell gates.
    """
    directions = []
    for direction in DIRECTIONS:
        entry, forget, cell, output = getattr(lstm, name + direction).chunk(4)
        directions.append(torch.cat((entry, output, forget, cell)))
    return torch.stack(directions)
