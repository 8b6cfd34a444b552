"""BAM (https://github.com/media-sec-lab/BAM), whose checkpoints are those of Lightning."""

from wedefense_lite.interop.patterns import Importer, flat, stages

IMPORTER = Importer(
    encoder=r"^(model\.)?ssl_layer\.model\.",
    names=[
        (r"^model\.", ""),
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
    changes=[(r"^model\.pool\.weight_D$", flat), (r"\.score_E$", flat)],
)
