"""The first stage of CFPRF (https://github.com/ItzJuny/CFPRF)."""

from wedefense_lite.interop.patterns import GATED, Importer

IMPORTER = Importer(
    encoder=r"^asr\.model\.",
    names=[
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
)
