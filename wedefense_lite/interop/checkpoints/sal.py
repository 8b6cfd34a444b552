"""SAL (https://github.com/SentryMao/SAL), whose checkpoints are those of Lightning."""

from wedefense_lite.interop.patterns import Importer

IMPORTER = Importer(
    encoder=r"^(net\.|model\.)?ssl_encoder\.ssl_encoder\.model\.",
    names=[
        (r"^(net|model)\.", ""),
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
)
