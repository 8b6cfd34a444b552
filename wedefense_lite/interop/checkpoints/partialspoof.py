"""gMLP at several resolutions (https://github.com/nii-yamagishilab/PartialSpoof, 03multireso)."""

from wedefense_lite.interop.patterns import GATED, Importer, of_25_layers, transposed

IMPORTER = Importer(
    encoder=r"^extracter\.model\.",
    names=[
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
    changes=[
        (r"^model\.sum\.weights_L$", of_25_layers),
        (r"^(model\.heads\.\d|head)\.weight$", transposed),
    ],
)
