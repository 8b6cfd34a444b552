"""Audio classifiers of ``transformers``: wav2vec 2.0, HuBERT and WavLM."""

from wedefense_lite.interop.patterns import Importer

IMPORTER = Importer(
    names=[
        (r".*masked_spec_embed$", ""),
        (r"^(wav2vec2|hubert|wavlm)\.", "frontend.encoder.network."),
        (r"^layer_weights$", "sum.weights_L"),
        (r"^projector\.", "project."),
        (r"^classifier\.", "head.linear."),
    ],
)
