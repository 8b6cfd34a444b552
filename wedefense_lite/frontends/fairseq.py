"""Encoders in the names of fairseq and of Microsoft's WavLM, as ``transformers`` names them."""

import re
from collections.abc import Mapping

from torch import Tensor

# Patterns on names and their replacements, applied one after the other. A name that becomes empty
# is of a layer of pretraining alone. Names of the hub stay as they are.
FAIRSEQ = (
    (r"^(w2v_encoder\.)?w2v_model\.", ""),
    (r"^(quantizer|project_q|final_proj|mask_emb|masked_spec_embed|label_embs_concat)\b.*", ""),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"\.pos_conv\.0\.weight_g$", ".pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"\.pos_conv\.0\.weight_v$", ".pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"\.pos_conv\.0\.", ".pos_conv_embed.conv."),
    (r"\.self_attn\.", ".attention."),
    (r"\.self_attn_layer_norm\.", ".layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
    (r"\.conv_layers\.([0-9])\.0\.", r".conv_layers.\1.conv."),
    (r"\.conv_layers\.([0-9])\.2\.1\.", r".conv_layers.\1.layer_norm."),
    (r"\.conv_layers\.0\.2\.", ".conv_layers.0.layer_norm."),
    (r"\.relative_attention_bias\.", ".rel_attn_embed."),
    (r"\.grep_linear\.", ".gru_rel_pos_linear."),
    (r"\.grep_a$", ".gru_rel_pos_const"),
)


def hub_name(name: str) -> str:
    """Name of a weight in ``transformers``; empty for one of pretraining alone."""
    for pattern, replacement in FAIRSEQ:
        name = re.sub(pattern, replacement, name)
    return name


def hub_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an encoder under the names of ``transformers``, without those of pretraining."""
    weights = {}
    for name, value in state.items():
        name = hub_name(name)
        if name.endswith(".gru_rel_pos_const"):
            # Its axes are others in the code of Microsoft.
            value = value.reshape(1, -1, 1, 1)
        if name:
            weights[name] = value
    return weights
