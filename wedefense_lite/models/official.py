"""Weights of the official implementations, under the names that they have here."""

import re
from collections.abc import Mapping

from torch import Tensor

# Patterns on the names of the official state dict and what they become, in this order, each at most
# once a name. What becomes "" is left out: layers whose output the official code never uses.
ATTENTION = [
    (r"att_weight(11)?$", "att_weights.0"),
    (r"att_weight12$", "att_weights.1"),
    (r"att_weight22$", "att_weights.2"),
    (r"att_weightM$", "to_master.att_weights.0"),
    (r"(att_proj|proj_with_att|proj_without_att)M\.", r"to_master.\1."),
    (r"(?<!master\.)(att_weights|att_proj|proj_with_att|proj_without_att)\.", r"attention.\1."),
]
NAMES = {
    "aasist": [
        (r"^encoder\.\d\.0\.bn1\..*", ""),
        (r"^(encoder\.\d)\.0\.conv1\.", r"\1.body.0."),
        (r"^(encoder\.\d)\.0\.bn2\.", r"\1.body.1."),
        (r"^(encoder\.\d)\.0\.conv2\.", r"\1.body.3."),
        (r"^(encoder\.\d)\.0\.conv_downsample\.", r"\1.shortcut."),
        *ATTENTION,
        (r"^HtrgGAT_layer_ST(\d)(\d)\.", r"branch\1.layer\2."),
        (r"^pool_h([ST])(\d)\.", r"branch\2.pool_\1."),
        (r"^master(\d)$", r"branch\1.master"),
        (r"^(GAT_layer|pool)_S\.", r"spectral.\1."),
        (r"^(GAT_layer|pool)_T\.", r"temporal.\1."),
        (r"\.GAT_layer\.", ".0."),
        (r"l\.pool\.", "l.1."),
        (r"^pos_S$", "position"),
        (r"^out_layer\.", "head.linear."),
    ],
    "rawnet2": [
        (r"^block\d\.0\.bn1\..*", ""),
        (r"^block(\d)\.0\.conv1\.", r"blocks.\1.0.body.0."),
        (r"^block(\d)\.0\.bn2\.", r"blocks.\1.0.body.1."),
        (r"^block(\d)\.0\.conv2\.", r"blocks.\1.0.body.3."),
        (r"^block(\d)\.0\.conv_downsample\.", r"blocks.\1.0.shortcut."),
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
