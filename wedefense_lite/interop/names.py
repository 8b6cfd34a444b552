"""Names of weights in official code, and the names that they have here."""

RAWNET2 = [
    (r"^block(\d)\.0\.", r"blocks.\1.0."),
    (r"\.conv_downsample\.", ".shortcut."),
    (r"^fc_attention(\d)\.0\.", r"blocks.\1.1.linear."),
    (r"^fc1_gru\.", "embed."),
    (r"^fc2_gru\.", "head.linear."),
]
# Patterns on official names and their replacements, applied one after the other. A name that
# becomes empty is left out: the official code never uses the output of that layer.
NAMES = {
    "aasist": [
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
    ],
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
}
