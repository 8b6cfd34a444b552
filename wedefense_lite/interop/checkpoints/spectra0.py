"""Spectra-0 (https://huggingface.co/lab260/spectra_0)."""

from wedefense_lite.interop.patterns import SE_RES2, Importer, without_last_axis

IMPORTER = Importer(
    encoder=r"^ssl_encoder\.model\.",
    names=[
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
    changes=[(r"\.3\.layers\.[02]\.weight$", without_last_axis)],
)
