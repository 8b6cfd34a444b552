"""XLS-R and TCM (https://github.com/ductuantruong/tcm_add)."""

from wedefense_lite.interop.patterns import WEIGHTED_LA_2019, Importer, without_first_axis

IMPORTER = Importer(
    encoder=r"^ssl_model\.model\.",
    names=[
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
    changes=[(r"\.position_HE$", without_first_axis)],
    trained_on=WEIGHTED_LA_2019,
)
