"""Names of weights in official code, and the names that they have here.

Letters: C classes [spoof, bonafide].
"""

import re

import torch
from torch import Tensor


def fairseq(prefix: str) -> list[tuple[str, str]]:
    """Patterns for an encoder in the names of fairseq.

    Args:
        prefix: regular expression of what stands before them.
    """
    network = "frontend.encoder.network."
    return [
        (rf"^{prefix}", "frontend."),
        # Layers of pretraining alone.
        (r"^frontend\.(quantizer|project_q|final_proj|mask_emb|label_embs_concat).*", ""),
        (r"^frontend\.post_extract_proj\.", f"{network}feature_projection.projection."),
        (r"^frontend\.layer_norm\.", f"{network}feature_projection.layer_norm."),
        (r"^frontend\.(feature_extractor|encoder)\.(?!network)", rf"{network}\1."),
        (
            r"\.pos_conv\.0\.weight_g$",
            ".pos_conv_embed.conv.parametrizations.weight.original0",
        ),
        (
            r"\.pos_conv\.0\.weight_v$",
            ".pos_conv_embed.conv.parametrizations.weight.original1",
        ),
        (r"\.pos_conv\.0\.", ".pos_conv_embed.conv."),
        (r"\.self_attn\.", ".attention."),
        (r"\.self_attn_layer_norm\.", ".layer_norm."),
        (r"(encoder\.layers\.\d+)\.fc1\.", r"\1.feed_forward.intermediate_dense."),
        (r"(encoder\.layers\.\d+)\.fc2\.", r"\1.feed_forward.output_dense."),
        (r"\.conv_layers\.(\d)\.0\.", r".conv_layers.\1.conv."),
        (r"\.conv_layers\.(\d)\.2\.1\.", r".conv_layers.\1.layer_norm."),
        (r"\.conv_layers\.0\.2\.", ".conv_layers.0.layer_norm."),
        (r"\.relative_attention_bias\.", ".rel_attn_embed."),
        (r"grep_linear", "gru_rel_pos_linear"),
        (r"grep_a$", "gru_rel_pos_const"),
    ]


def stages(blocks: tuple[int, ...], trunk: str = "") -> list[tuple[str, str]]:
    """Patterns for blocks that are numbered through here, and within a stage in official code."""
    patterns = []
    number = 0
    start = re.escape(trunk)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            patterns.append((rf"^{start}layer{stage}\.{block}\.", f"{trunk}stages.{number}."))
            number += 1
    return patterns


def se_res2net50(trunk: str) -> list[tuple[str, str]]:
    """Patterns for SE-Res2Net50, whose names begin with ``trunk``, a dot at its end included."""
    start = re.escape(trunk)
    return [
        (rf"^{start}conv1\.0\.", f"{trunk}stem.0.0."),
        (rf"^{start}conv1\.1\.", f"{trunk}stem.0.1."),
        (rf"^{start}conv1\.3\.", f"{trunk}stem.1.0."),
        (rf"^{start}conv1\.4\.", f"{trunk}stem.1.1."),
        (rf"^{start}conv1\.6\.", f"{trunk}stem.2.0."),
        (rf"^{start}bn1\.", f"{trunk}stem.2.1."),
        *stages((3, 4, 6, 3), trunk),
        (r"(stages\.\d+)\.conv1\.", r"\1.layers.0.0."),
        (r"(stages\.\d+)\.bn1\.", r"\1.layers.0.1."),
        (r"(stages\.\d+)\.convs\.(\d)\.", r"\1.layers.1.branches.\2.0."),
        (r"(stages\.\d+)\.bns\.(\d)\.", r"\1.layers.1.branches.\2.1."),
        (r"(stages\.\d+)\.conv3\.", r"\1.layers.2.0."),
        (r"(stages\.\d+)\.bn3\.", r"\1.layers.2.1."),
        (r"(stages\.\d+)\.se\.fc\.", r"\1.layers.3.layers."),
        (r"(stages\.\d+)\.downsample\.1\.", r"\1.shortcut.1.0."),
        (r"(stages\.\d+)\.downsample\.2\.", r"\1.shortcut.1.1."),
    ]


RAWNET2 = [
    (r"^block(\d)\.0\.", r"blocks.\1.0."),
    (r"\.conv_downsample\.", ".shortcut."),
    (r"^fc_attention(\d)\.0\.", r"blocks.\1.1.linear."),
    (r"^fc1_gru\.", "embed."),
    (r"^fc2_gru\.", "head.linear."),
]
AASIST = [
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
]
# Blocks of ECAPA-TDNN, with the squeeze-and-excitation of TaoRuijie's code.
SE_RES2 = [
    (r"layers\.conv1\.", "layers.0.0."),
    (r"layers\.bn1\.", "layers.0.2."),
    (r"layers\.convs\.(\d)\.", r"layers.1.branches.\1.0."),
    (r"layers\.bns\.(\d)\.", r"layers.1.branches.\1.2."),
    (r"layers\.conv3\.", "layers.2.0."),
    (r"layers\.bn3\.", "layers.2.2."),
    (r"se\.se\.1\.", "3.layers.0."),
    (r"se\.se\.3\.", "3.layers.2."),
]
# Numbers of the layers of LCNN there, and here.
LCNN_LAYERS = {
    0: "0.0",
    3: "2.0",
    5: "3",
    6: "4.0",
    9: "6",
    10: "7.0",
    12: "8",
    13: "9.0",
    16: "11.0",
    18: "12",
    19: "13.0",
    21: "14",
    22: "15.0",
    24: "16",
    25: "17.0",
}
NII_LCNN = [
    (r"^(input|output)_(mean|std)$", ""),
    (r"^m_frontend\..*", ""),
    *((rf"^m_transform\.0\.{there}\.", f"layers.0.{here}.") for there, here in LCNN_LAYERS.items()),
    (r"^m_before_pooling\.0\.(\d)\.l_blstm\.(.*)_l0(.*)$", r"lstm.\2_l\1\3"),
]
# Layers of gMLP.
GATED = [
    (r"\.proj1\.", ".expand."),
    (r"\.proj2\.", ".reduce."),
    (r"\.sgu\.norm\.", ".gate_norm."),
    (r"\.sgu\.weight$", ".weight_GG"),
    (r"\.sgu\.bias$", ".bias_G"),
]
SOFTMAX_PROJECTION = [
    (r"^projection\.trans\.0\.", "head.norm."),
    (r"^projection\.trans\.2\.", "head.linear."),
]
# Patterns on official names and their replacements, applied one after the other. A name that
# becomes empty is left out: the official code never uses the output of that layer.
NAMES = {
    "aasist": AASIST,
    "rawnet2": [(r"^block\d\.0\.bn1\..*", ""), *RAWNET2],
    # Of the same names and shapes as ASVspoof 2021's, but here the code uses bn1.
    "rawnet2_asvspoof5": RAWNET2,
    "rawnet2_2019": RAWNET2,
    "transformers": [
        (r".*masked_spec_embed$", ""),
        (r"^(wav2vec2|hubert|wavlm)\.", "frontend.encoder.network."),
        (r"^layer_weights$", "sum.weights_L"),
        (r"^projector\.", "project."),
        (r"^classifier\.", "head.linear."),
    ],
    "fairseq": fairseq(r"encoder_only\."),
    "ssl_aasist": [
        *fairseq(r"ssl_model\.model\."),
        *AASIST,
        (r"^LL\.", "project."),
        (r"^first_bn1\.", "last_bn."),
    ],
    "nes2net": [
        *fairseq(r"ssl_model\.model\."),
        (r"^Nested_Res2Net_TDNN\.", ""),
        (r"^bns\.(\d)\.", r"layers.0.branches.\1.2."),
        (r"^bn\.", "layers.1."),
        (r"^fc\.", "head.linear."),
        (r"^Build_in_Res2Nets\.(\d)\.", r"layers.0.branches.\1.0.layers."),
        *SE_RES2,
        (r"weighted_sum\.", "1.weights."),
    ],
    "wespeaker": [
        *SOFTMAX_PROJECTION,
        *stages((2, 2, 2, 2)),
        (r"^seg_1\.", "embed."),
    ],
    "wespeaker_ecapa": [
        *SOFTMAX_PROJECTION,
        (r"^layer1\.conv\.", "first.0."),
        (r"^layer1\.bn\.", "first.2."),
        (r"^layer2\.se_res2block\.", "blocks.0.layers."),
        (r"^layer3\.se_res2block\.", "blocks.1.layers."),
        (r"^layer4\.se_res2block\.", "blocks.2.layers."),
        (r"layers\.([02])\.conv\.", r"layers.\1.0."),
        (r"layers\.([02])\.bn\.", r"layers.\1.2."),
        (r"layers\.1\.convs\.(\d)\.", r"layers.1.branches.\1.0."),
        (r"layers\.1\.bns\.(\d)\.", r"layers.1.branches.\1.2."),
        (r"3\.linear1\.", "3.layers.0."),
        (r"3\.linear2\.", "3.layers.2."),
        (r"^conv\.", "join."),
        (r"^pool\.linear1\.", "pool.attention.0."),
        (r"^pool\.linear2\.", "pool.attention.2."),
        (r"^bn\.", "embed.0."),
        (r"^linear\.", "embed.1."),
    ],
    "wedefense": [
        *fairseq(r"frontend\.upstream\.upstream\.model\."),
        *SOFTMAX_PROJECTION,
        (r"^weights_k$", "key.0.weights_L"),
        (r"^weights_v$", "value.0.weights_L"),
        (r"^cmp_linear_k\.", "key.1."),
        (r"^cmp_linear_v\.", "value.1."),
        (r"^att_head\.", "attention."),
        (r"^pooling_fc\.", "embed."),
    ],
    "se_res2net50": [*se_res2net50(""), (r"^cls_layer\.", "head.linear.")],
    "eabn": [
        (r"^model\.", ""),
        (r"^perception_branch\.features\.", "trunk.embed."),
        (r"^perception_branch\.cls_layer\.", "head.head.linear."),
        (r"^loss\.btc_loss\.centers$", "head.centers"),
        (r"^attention_branch\.conv1\.", "branch.0.0."),
        (r"^attention_branch\.bn1\.", "branch.0.1."),
        (r"^attention_branch\.middle_layers\.0\.0\.", "branch.1."),
        (r"^attention_branch\.middle_layers\.1\.0\.", "branch.2."),
        (r"^attention_branch\.middle_layers\.2\.0\.", "branch.3."),
        (r"^attention_branch\.middle_layers\.3\.0\.", "branch.4."),
        (r"(branch\.\d)\.downsample\.", r"\1.shortcut."),
        (r"^attention_branch\.att_conv\.", "branch.5.0."),
        (r"^attention_branch\.bn_att2\.", "branch.5.1."),
        (r"^attention_branch\.att_conv3\.", "mask.0."),
        (r"^attention_branch\.bn_att3\.", "mask.1."),
        (r"^attention_branch\.att_conv2\.weight$", "classifier.linear.weight"),
        (r"^perception_branch\.", "trunk."),
        *se_res2net50("trunk."),
    ],
    "sls": [
        *fairseq(r"ssl_model\.model\."),
        (r"^fc0\.", "gate."),
        (r"^first_bn\.", "norm."),
        (r"^fc1\.", "embed."),
        (r"^fc3\.", "head.linear."),
    ],
    "spectra0": [
        (r"^ssl_encoder\.model\.", "frontend.encoder.network."),
        (r"^bridge\.mlp\.", "project."),
        (r"^ecapa_tdnn\.", ""),
        (r"^layer5\.", "join."),
        (r"^conv1\.", "first.0."),
        (r"^bn1\.", "first.2."),
        (r"^bn5\.", "norm."),
        (r"^fc6\.", "head.linear."),
        (r"^attention\.0\.", "pool.attention.0."),
        (r"^attention\.2\.", "pool.attention.1.1."),
        (r"^attention\.4\.", "pool.attention.2."),
        (r"^layer1\.", "blocks.0.layers."),
        (r"^layer2\.", "blocks.1.layers."),
        (r"^layer3\.", "blocks.2.layers."),
        (r"^layer4\.", "blocks.3.layers."),
        *SE_RES2,
    ],
    "antideepfake": [
        *fairseq(r"m_ssl\.model\."),
        (r"^proj_fc\.", "head.linear."),
    ],
    "partialspoof": [
        *fairseq(r"extracter\.model\."),
        (r"^(input|output)_(mean|std)$", ""),
        (r"^weight_hidd$", "sum.weights_L"),
        (r"^m_angle_scales\.2\.weight$", "head.weight"),
        *((rf"^m_angle_scales\.{2 << n}\.", f"heads.{n - 1}.") for n in range(1, 6)),
        *((rf"^m_transform\.0\.blocks\.{n}\.1\.", f"enter.{n - 1}.") for n in range(1, 6)),
        (r"^m_transform\.0\.post_nets_seg\.disc_(\d)\.", r"branches.\1."),
        (r"^m_transform\.0\.post_nets_utt\.", "utterance."),
        (r"^(branches\.\d|utterance)\.fc\.", r"\1.embed."),
        *GATED,
    ],
    "tcm": [
        *fairseq(r"ssl_model\.model\."),
        (r"^LL\.", "project."),
        (r"^first_bn\.", "norm."),
        (r"^conformer\.positional_emb$", ""),
        (r"^conformer\.class_token$", "class_token"),
        (r"^conformer\.fc5\.", "head.linear."),
        (r"^conformer\.encoder_blocks\.", "blocks."),
        (r"^(blocks\.\d)\.ff1\.fn\.", r"\1.first."),
        (r"^(blocks\.\d)\.ff2\.fn\.", r"\1.second."),
        (r"\.fn\.net\.0\.", ".expand."),
        (r"\.fn\.net\.3\.", ".reduce."),
        (r"\.attn\.fn\.pos_embed$", ".attention.position_HE"),
        (r"\.attn\.fn\.qkv\.", ".attention.query_key_value."),
        (r"\.attn\.fn\.proj\.", ".attention.project."),
        (r"\.attn\.fn\.ht_proj\.", ".attention.to_heads."),
        (r"\.attn\.fn\.ht_norm\.", ".attention.head_norm."),
        (r"\.attn\.norm\.", ".attention.norm."),
        (r"\.conv\.net\.0\.", ".convolution.norm."),
        (r"\.conv\.net\.2\.", ".convolution.enter."),
        (r"\.conv\.net\.4\.conv\.", ".convolution.conv."),
        (r"\.conv\.net\.5\.", ".convolution.batch_norm."),
        (r"\.conv\.net\.7\.", ".convolution.leave."),
        (r"\.post_norm\.", ".norm."),
    ],
    "sal": [
        (r"^weight_layer$", "weights_L"),
        (r"^seq_model\.conformer_layer\.", "blocks."),
        (r"\.ffn1\.ln_norm\.", ".first.norm."),
        (r"\.ffn2\.ln_norm\.", ".second.norm."),
        (r"\.ffn1\.", ".first."),
        (r"\.ffn2\.", ".second."),
        (r"\.w_1\.", ".expand."),
        (r"\.w_2\.", ".reduce."),
        (r"\.mha\.ln_norm\.", ".attention.norm."),
        (r"\.mha\.mha\.linearQ\.", ".attention.query."),
        (r"\.mha\.mha\.linearK\.", ".attention.key."),
        (r"\.mha\.mha\.linearV\.", ".attention.value."),
        (r"\.mha\.mha\.linearO\.", ".attention.project."),
        (r"\.conv\.ln_norm\.", ".convolution.norm."),
        (r"\.conv\.pointwise_conv1\.", ".convolution.enter."),
        (r"\.conv\.depthwise_conv\.", ".convolution.conv."),
        (r"\.conv\.bn_norm\.", ".convolution.batch_norm."),
        (r"\.conv\.pointwise_conv2\.", ".convolution.leave."),
        (r"(blocks\.\d)\.ln_norm\.", r"\1.norm."),
        (r"^out_layer1\.", "position."),
        (r"^out_layer2\.1\.", "embed.1."),
        (r"^out_layer2\.3\.", "head.linear."),
    ],
    "bam": [
        # The downsampling of the last stage has two names.
        (r"^intra_layer\.resnet\.downsample\..*", ""),
        (r"^intra_layer\.resnet\.", ""),
        *stages((2, 2, 2, 2)),
        (r"^(conv1|bn1|stages)\.", r"within.\1."),
        (r"^intra_layer\.proj_layer\.", "within.project."),
        (r"^att_pool\.mm_weights$", "pool.weight_D"),
        (r"^inter_layer\.", "across."),
        (r"^gap_layers\.", "layers."),
        (r"\.att_weight$", ".score_E"),
        (r"\.att_proj\.", ".pair."),
        (r"\.proj_with_att\.", ".attended."),
        (r"\.proj_without_att\.", ".own."),
        (r"^(across|layers\.\d)\.bn\.", r"\1.norm."),
        (r"^b_output_layer\.0\.", "boundary."),
        (r"^boundary_proj\.", "project."),
        (r"^out_layer\.", "head.linear."),
    ],
    "cfprf": [
        *fairseq(r"asr\.model\."),
        (r"^encoder\.\d\.0\.bn1\..*", ""),
        # Layers that the official code makes and doesn't use.
        (r"^first_bn1\..*", ""),
        (r"^(encoder\.\d)\.0\.", r"\1."),
        (r"\.conv_downsample\.", ".shortcut."),
        (r"^LL\.", "project."),
        (r"^b_amlp\.layers\.0\.", "boundary_mlp."),
        (r"^seg_amlp\.layers\.0\.", "segment_mlp."),
        (r"\.sgu\.tn\.qkv\.", ".attention.query_key_value."),
        (r"\.sgu\.tn\.proj\.", ".attention.project."),
        *GATED,
        (r"^ca\.", ""),
        (r"^FFN\.w_1\.", "feed_forward.0."),
        (r"^FFN\.w_2\.", "feed_forward.2."),
        (r"^b_fc\.", "boundary.linear."),
        (r"^seg_fc\.", "head.linear."),
    ],
    "air_oc": [
        (r"^model\.(fc_mu|fc_att)\..*", ""),
        (r"^model\.", ""),
        *stages((2, 2, 2, 2)),
        (r"\.shortcut\.0\.", ".shortcut."),
        (r"^attention\.att_weights$", "pool.weight_D"),
        (r"^fc\.", "embed."),
        (r"^loss\.center$", "head.weight"),
    ],
    "nii_lcnn": [*NII_LCNN, (r"^m_output_act\.0\.", "head.linear.")],
    "nii_lcnn_p2sgrad": [
        *NII_LCNN,
        (r"^m_output_act\.0\.", "embed."),
        (r"^m_angle\.0\.weight$", "head.weight"),
    ],
}


def reversed_rows(value: Tensor) -> Tensor:
    """Classes in our order, of a layer that has bona fide first."""
    return value.flip(0)


def without_last_axis(value: Tensor) -> Tensor:
    """Weights of a linear layer, which were those of a convolution over one frame."""
    return value.squeeze(-1)


def without_inner_axes(value: Tensor) -> Tensor:
    """Weights of a linear layer, which were those of a convolution over one point."""
    return value.flatten(1)


def without_first_axis(value: Tensor) -> Tensor:
    """Values that had an axis for the utterances."""
    return value.squeeze(0)


def flat(value: Tensor) -> Tensor:
    """Values without axes of size 1."""
    return value.flatten()


def transposed(value: Tensor) -> Tensor:
    """Kernels over features and frames, which were over frames and features; or rows of columns."""
    return value.transpose(-1, -2)


def of_25_layers(value: Tensor) -> Tensor:
    """Weights of the states of a large encoder, where there are more."""
    return value[:25]


def difference_rows(value: Tensor) -> Tensor:
    """A layer with a logit of bona fide speech alone, with a row of zeros for the spoof logit."""
    return torch.cat((torch.zeros_like(value), value))


# Changes of values, by patterns on the names here.
CHANGES = {
    "nes2net": [
        (r"\.3\.layers\.[02]\.weight$", without_last_axis),
        (r"\.1\.weights\.\d$", flat),
    ],
    "wespeaker": [(r"^head\.linear\.", reversed_rows)],
    "wespeaker_ecapa": [(r"^head\.linear\.", reversed_rows)],
    "wedefense": [(r"^head\.linear\.", reversed_rows)],
    "se_res2net50": [(r"^head\.linear\.", reversed_rows)],
    "eabn": [
        (r"^(head\.|model\.classifier\.)", reversed_rows),
        (r"^model\.classifier\.", without_inner_axes),
    ],
    "spectra0": [(r"\.3\.layers\.[02]\.weight$", without_last_axis)],
    "air_oc": [(r"^model\.pool\.weight_D$", flat)],
    "nii_lcnn": [
        (r"^model\.layers\..*weight$", transposed),
        (r"^head\.linear\.", difference_rows),
    ],
    "bam": [(r"^model\.pool\.weight_D$", flat), (r"\.score_E$", flat)],
    "tcm": [(r"\.position_HE$", without_first_axis)],
    "partialspoof": [
        (r"^model\.sum\.weights_L$", of_25_layers),
        (r"^(model\.heads\.\d|head)\.weight$", transposed),
    ],
    "nii_lcnn_p2sgrad": [
        (r"^model\.layers\..*weight$", transposed),
        (r"^head\.weight$", transposed),
    ],
}
