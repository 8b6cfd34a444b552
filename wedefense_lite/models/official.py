"""Weights of the official implementations, under the names that they have here."""

import re
from collections.abc import Mapping

from torch import Tensor

# Patterns on the names of the official state dict and what they become, in this order, each at most
# once a name. What becomes "" is left out: layers whose output the official code never uses.
NAMES = {
    "aasist": [
        (r"^encoder\.\d\.0\.bn1\..*", ""),
        (r"^(encoder\.\d)\.0\.", r"\1."),
        (r"\.conv_downsample\.", ".shortcut."),
        (r"\.(att_weight|att_proj|proj_with_att|proj_without_att)M", r".to_master.\1"),
        (r"(?<!to_master)\.(att_|proj_with)", r".attention.\1"),
        (r"att_weight(11)?$", "att_weights.0"),
        (r"att_weight12$", "att_weights.1"),
        (r"att_weight22$", "att_weights.2"),
        (r"^HtrgGAT_layer_ST(\d)(\d)\.", r"branch\1.layer\2."),
        (r"^pool_h([ST])(\d)\.", r"branch\2.pool_\1."),
        (r"^master(\d)$", r"branch\1.master"),
        (r"^GAT_layer_S\.", "spectral.0."),
        (r"^pool_S\.", "spectral.1."),
        (r"^GAT_layer_T\.", "temporal.0."),
        (r"^pool_T\.", "temporal.1."),
        (r"^pos_S$", "position"),
        (r"^out_layer\.", "head.linear."),
    ],
    "rawnet2": [
        (r"^block\d\.0\.bn1\..*", ""),
        (r"^block(\d)\.0\.", r"blocks.\1.0."),
        (r"\.conv_downsample\.", ".shortcut."),
        (r"^fc_attention(\d)\.0\.", r"blocks.\1.1.linear."),
        (r"^fc1_gru\.", "embed."),
        (r"^fc2_gru\.", "head.linear."),
    ],
}


def renamed(source: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a :class:`~wedefense_lite.training.tasks.Detection` with these weights.

    Args:
        source: a key of :data:`NAMES`.
        official: state dict as the official code saves it; names that are not known stay as they are.
    """
    state = {}
    for name, value in official.items():
        for pattern, replacement in NAMES[source]:
            name = re.sub(pattern, replacement, name)
        if name:
            state[name if name.startswith("head.") else f"model.{name}"] = value
    return state
