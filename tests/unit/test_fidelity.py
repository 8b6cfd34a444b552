"""Systems that carry the name of a published one give what the code of its authors gives.

Weights and inputs are drawn from seeds; tests/reference/fidelity/README.md says by which rules, and
at which commits the values were made.
"""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refvectors import Reference
from torch import nn

from wedefense_lite.augment import rawboost
from wedefense_lite.augment.rawboost import RawBoost, filter_and_add
from wedefense_lite.frontends import LFCC, SSL, Fbank, MatlabLFCC
from wedefense_lite.frontends.fairseq import hub_name, hub_weights
from wedefense_lite.frontends.raw import Sinc
from wedefense_lite.heads import CrossEntropy, Focal, OCSoftmax, P2SGrad, SquaredError, WithTriplet
from wedefense_lite.interop.official import official_names, rename_weights
from wedefense_lite.models.bam import BAM
from wedefense_lite.models.cfprf import ATTENTION_DIM, CFPRF, TinyAttention
from wedefense_lite.models.eabn import EABN
from wedefense_lite.models.ecapa import ECAPA
from wedefense_lite.models.lcnn import LCNNLSTM
from wedefense_lite.models.mean_pooling import MeanPooling
from wedefense_lite.models.mhfa import MHFA
from wedefense_lite.models.nes2net import Nes2NetX
from wedefense_lite.models.partialspoof import PartialSpoofGMLP
from wedefense_lite.models.preact_resnet import PreActResNet
from wedefense_lite.models.rawnet2 import RawNet2
from wedefense_lite.models.res2net import SERes2Net
from wedefense_lite.models.resnet import ResNet
from wedefense_lite.models.sal import SAL, position_targets
from wedefense_lite.models.sls import SLS
from wedefense_lite.models.spectra import Spectra
from wedefense_lite.models.ssl_aasist import SSLAASIST
from wedefense_lite.models.tcm import TCM

torch.set_num_threads(1)
LA_WEIGHTS = (0.1, 0.9)  # of the classes in the loss, [spoof, bonafide]
TO_FLOAT32 = torch.Tensor.float


def at_least_float32(values: torch.Tensor) -> torch.Tensor:
    """Values that are not of fewer bits than float32."""
    return values if values.dtype == torch.float64 else TO_FLOAT32(values)


@pytest.fixture(autouse=True)
def keep_float64(monkeypatch):
    """Systems turn bf16 to float32 within; here, what is in float64 stays in it."""
    monkeypatch.setattr(torch.Tensor, "float", at_least_float32)


def load(reference: Reference, source: str, model: nn.Module, head: nn.Module) -> nn.ModuleDict:
    """Model and head with the weights of a set, in eval mode."""
    system = nn.ModuleDict({"model": model, "head": head})
    system.load_state_dict(rename_weights(source, reference.weights), strict=True)
    return system.eval()


def without_dropout(system: nn.Module) -> nn.Module:
    """The system in training mode, with batch norms on the batch and no dropout.

    It is in float64, in which statistics of a few utterances and sums of gradients are as exact as
    the expected ones.
    """
    system.train().double()
    for module in system.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return system


def leaf(values: torch.Tensor) -> torch.Tensor:
    """Input in float64, for which gradients are kept."""
    return values.double().requires_grad_()


def full(frames_BFD: torch.Tensor) -> torch.Tensor:
    """Lengths of frames or samples without padding."""
    return torch.full((len(frames_BFD),), frames_BFD.shape[1])


RAWNET2 = {
    "rawnet2_2021": ("rawnet2", Sinc(20, 1025), {}),
    "rawnet2_asvspoof5": ("rawnet2_asvspoof5", Sinc(20, 1025), {"norm_first": True}),
    "rawnet2_2019": (
        "rawnet2_2019",
        Sinc(128, 129, spare_filters=2),
        {"norm_first": True, "channels": 512},
    ),
}


@pytest.mark.parametrize("name", RAWNET2)
def test_rawnet2(name):
    source, frontend, options = RAWNET2[name]
    reference = Reference(name)
    reference.compare("sinc_filters", frontend.filters_D1W[:, 0])
    head = CrossEntropy(1024, class_weights=LA_WEIGHTS)
    system = load(reference, source, RawNet2(frontend.dim, **options), head)
    wav_BT = reference.inputs["wave"]
    frames = frontend(wav_BT, full(wav_BT))
    embedding_BE = system.model(*frames)
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    # Filters that are rounded otherwise let max pooling take other samples.
    frontend.filters_D1W = torch.from_numpy(reference.expected["sinc_filters"])[:, None]
    without_dropout(system)
    frames = frontend.double()(wav_BT.double(), full(wav_BT))
    loss, logits_BC = system.head.loss(system.model(*frames), reference.labels)
    reference.compare("train_logits", logits_BC)
    check_gradients(reference, source, system, loss)


def test_filterbanks_of_wespeaker_and_wedefense():
    reference = Reference("fbank_wespeaker")
    wav_BT = reference.inputs["wave"]
    lengths_B = full(wav_BT)
    frames_BFD, _ = Fbank(window="hamming", mean_norm=False)(wav_BT, lengths_B)
    reference.compare("fbank", frames_BFD)
    frames_BFD, _ = Fbank(window="hamming")(wav_BT, lengths_B)
    reference.compare("fbank_normalised", frames_BFD[:, :20])


LFCCS = {
    "lfcc_2019": {"fft_size": 512},
    "lfcc_2021": {"fft_size": 1024, "max_frequency": 0.5},
    "lfcc_1024": {"fft_size": 1024},
    "lfcc_cepstra": {"fft_size": 512, "energy": False},
}


@pytest.mark.parametrize("name", LFCCS)
def test_lfcc_of_nii(name):
    reference = Reference("lfcc_nii")
    frontend = LFCC(**LFCCS[name])
    wav_BT = reference.inputs["wave"]
    frames_BFD, _ = frontend(wav_BT, full(wav_BT))
    reference.compare(name, frames_BFD[:, : reference.expected[name].shape[1]])
    if name == "lfcc_2021":
        reference.compare("bank_2021", frontend.filters_QD)


def check_training(
    reference, source, system, frames_BFD, labels_B, logits="train_logits", factor=1.0
):
    """Loss, logits and gradients of a batch in training mode, bona fide last.

    ``factor`` is that of the gradient of the input.
    """
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    frames_BFD.register_hook(partial(torch.mul, factor))
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    loss, logits_BC = system.head.loss(embedding_BE, labels_B)
    reference.compare(logits, logits_BC)
    check_gradients(reference, source, system, loss, frames_BFD)


def check_gradients(reference, source, system, loss, frames=None):
    """Loss, and the gradients of all weights and of the input, if a set has that."""
    reference.compare("loss", loss)
    loss.backward()
    reference.compare_gradients(system, official_names(source, reference.weights))
    for name in ("features", "states", "layers"):
        if f"gradient_norm_of_{name}" in reference.expected:
            reference.compare(f"gradient_norm_of_{name}", frames.grad.norm())


def test_ssl_aasist():
    reference = Reference("ssl_aasist")
    head = CrossEntropy(160, class_weights=LA_WEIGHTS)
    system = load(reference, "ssl_aasist", SSLAASIST(1024), head)
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    shorter_BFD = frames_BFD[:, :70]
    reference.compare("logits_of_70", system.head(system.model(shorter_BFD, full(shorter_BFD))))
    check_training(reference, "ssl_aasist", system, frames_BFD, reference.labels)


def test_nes2net_x():
    reference = Reference("nes2net_x")
    head = CrossEntropy(1024, class_weights=LA_WEIGHTS)
    system = load(reference, "nes2net", Nes2NetX(1024), head)
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    check_training(reference, "nes2net", system, frames_BFD, reference.labels)


def bonafide_first(reference: Reference) -> Reference:
    """A set whose classes are [bona fide, spoof], in the order here."""
    reference.labels = 1 - reference.labels
    for name, values in reference.expected.items():
        if "log" in name:
            reference.expected[name] = values[:, ::-1]
    return reference


def test_mhfa_with_the_projection_of_wedefense():
    reference = bonafide_first(Reference("mhfa"))
    system = load(reference, "mhfa", MHFA(25 * 1024), CrossEntropy(256, norm=True))
    states_BFLJ = reference.inputs["states"]
    frames_BFD = states_BFLJ.flatten(2)
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    centred_BFLJ = states_BFLJ - states_BFLJ.mean(3, keepdim=True)
    embedding_BE = system.model(centred_BFLJ.flatten(2), full(frames_BFD))
    reference.compare("embedding_cmvn", embedding_BE)
    reference.compare("logits_cmvn", system.head(embedding_BE))
    check_training(reference, "mhfa", system, frames_BFD, reference.labels, factor=0.05)


def test_resnet18_with_the_projection_of_wespeaker_and_wedefense():
    reference = bonafide_first(Reference("resnet18_wedefense"))
    model = ResNet(80, norm_statistics=False)
    system = load(reference, "wespeaker", model, CrossEntropy(256, norm=True))
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    shorter_BFD = frames_BFD[:, :77]
    reference.compare("embedding_of_77", system.model(shorter_BFD, full(shorter_BFD)))
    check_training(reference, "wespeaker", system, frames_BFD, reference.labels)


def test_se_res2net50():
    reference = bonafide_first(Reference("se_res2net50"))
    system = load(reference, "se_res2net50", SERes2Net(60), CrossEntropy(256))
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("log_probabilities", system.head(embedding_BE).log_softmax(1))
    shorter_BFD = frames_BFD[:, :157]
    logits_BC = system.head(system.model(shorter_BFD, full(shorter_BFD)))
    reference.compare("log_probabilities_of_157", logits_BC.log_softmax(1))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    loss, logits_BC = system.head.loss(system.model(frames_BFD, full(frames_BFD)), reference.labels)
    reference.compare("train_log_probabilities", logits_BC.log_softmax(1))
    check_gradients(reference, "se_res2net50", system, loss, frames_BFD)


def test_lfcc_of_matlab():
    reference = Reference("lfcc_matlab")
    wav_BT = reference.inputs["wave"]
    frames_BFD, lengths_B = MatlabLFCC()(wav_BT, full(wav_BT))
    reference.compare("lfcc", frames_BFD)
    assert lengths_B.tolist() == [99, 99]


def test_sls():
    reference = Reference("sls")
    head = CrossEntropy(1024, class_weights=LA_WEIGHTS, selu=True)
    # In float64: a logit is what is left of sums over 22,000 features.
    system = load(reference, "sls", SLS(24 * 1024, num_layers=24), head).double()
    frames_BFD = reference.inputs["layers"].permute(1, 2, 0, 3).flatten(2).double()
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head.linear(embedding_BE))
    reference.compare("log_probabilities", system.head(embedding_BE).log_softmax(1))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    loss, logits_BC = system.head.loss(system.model(frames_BFD, full(frames_BFD)), reference.labels)
    reference.compare("train_logits", logits_BC.log_softmax(1))
    check_gradients(reference, "sls", system, loss, frames_BFD)


def silence(layer: nn.Module) -> None:
    """Make every tenth channel of a convolution before a ReLU silent."""
    with torch.no_grad():
        layer.bias[::10] -= 50


def test_spectra_0():
    reference = Reference("spectra_0")
    head = CrossEntropy(3072, class_weights=LA_WEIGHTS)
    system = load(reference, "spectra0", Spectra(1024), head)
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    silence(system.model.join)
    reference.compare("silent", system.head(system.model(frames_BFD, full(frames_BFD))))
    system = load(reference, "spectra0", Spectra(1024), head)
    check_training(reference, "spectra0", system, frames_BFD, reference.labels)


@pytest.mark.parametrize("name", ["ecapa_c512", "ecapa_c512_glob"])
def test_ecapa(name):
    reference = Reference(name)
    model = ECAPA(80, global_context=name.endswith("glob"))
    system = load(reference, "wespeaker_ecapa", model, nn.Identity())
    frames_BFD = reference.inputs["features"]
    reference.compare("embedding", model(frames_BFD, full(frames_BFD)))
    shorter_BFD = frames_BFD[:, :77]
    reference.compare("embedding_of_77", model(shorter_BFD, full(shorter_BFD)))
    silence(model.join)
    reference.compare("silent", model(frames_BFD, full(frames_BFD)))
    load(reference, "wespeaker_ecapa", model, nn.Identity())
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    embedding_BE = model(frames_BFD, full(frames_BFD))
    reference.compare("train_embedding", embedding_BE)
    loss = (embedding_BE * reference.inputs["weights"]).sum()
    check_gradients(reference, "wespeaker_ecapa", system, loss, frames_BFD)


def bonafide_row(gradient: torch.Tensor) -> torch.Tensor:
    """Gradient of the bona fide logit alone."""
    gradient = gradient.clone()
    gradient[0] = 0
    return gradient


def test_lcnn_lstm_with_a_sigmoid():
    reference = Reference("lfcc_lcnn_lstm_sigmoid")
    system = load(reference, "nii_lcnn", LCNNLSTM(60), CrossEntropy(96))
    frames_BFD = reference.inputs["features"]
    pooled_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("pooled", pooled_BE)
    logits_BC = system.head(pooled_BE)
    reference.compare("score", logits_BC[:, 1] - logits_BC[:, 0])
    wav_BT = reference.inputs["wave"]
    logits_BC = system.head(system.model(*LFCC()(wav_BT, full(wav_BT))))
    reference.compare("score_of_wave", logits_BC[:, 1] - logits_BC[:, 0])
    without_dropout(system)
    # Their one logit is the difference of ours, of which that of spoof speech is 0.
    for parameter in system.head.parameters():
        parameter.register_hook(bonafide_row)
    frames_BFD = leaf(frames_BFD)
    loss, logits_BC = system.head.loss(system.model(frames_BFD, full(frames_BFD)), reference.labels)
    reference.compare("train_score", logits_BC.softmax(1)[:, 1])
    check_gradients(reference, "nii_lcnn", system, loss, frames_BFD)


def test_lcnn_lstm_with_p2sgrad():
    reference = Reference("lfcc_lcnn_lstm_p2sgrad")
    model = LCNNLSTM(60, pooling="sum", embed_dim=64)
    system = load(reference, "nii_lcnn_p2sgrad", model, P2SGrad(64))
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("cosines", system.head(embedding_BE))
    # In float64: where all cosines are near 0, rounding in float32 is much of each.
    wav_BT = reference.inputs["wave"].double()
    frames = LFCC().double()(wav_BT, full(wav_BT))
    cosines_BC = system.double().head(system.model(*frames))
    reference.compare("score_of_wave", cosines_BC[:, 1])
    check_training(
        reference, "nii_lcnn_p2sgrad", system, frames_BFD, reference.labels, "train_cosines"
    )


def test_preact_resnet_with_oc_softmax():
    reference = Reference("air_resnet18_oc")
    system = load(reference, "air_oc", PreActResNet(60), OCSoftmax(256))
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    logits_BC = system.head(embedding_BE)
    reference.compare("score", logits_BC[:, 1] - logits_BC[:, 0])
    without_dropout(system)
    labels_B = 1 - reference.labels  # theirs have bona fide first
    frames_BFD = leaf(frames_BFD)
    loss, logits_BC = system.head.loss(system.model(frames_BFD, full(frames_BFD)), labels_B)
    reference.compare("train_score", logits_BC[:, 1] - logits_BC[:, 0])
    check_gradients(reference, "air_oc", system, loss, frames_BFD)


TINY_ENCODER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [24] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
ENCODERS = {
    "wav2vec2_tiny_large": "facebook/wav2vec2-xls-r-300m",
    "wav2vec2_tiny_base": "facebook/wav2vec2-base",
    "wavlm_tiny_large": "microsoft/wavlm-large",
    "wavlm_tiny_base": "microsoft/wavlm-base",
}


def keep_output(outputs: list, layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    """Hook of a layer: its output, behind those before."""
    outputs.append(output)


def load_encoder(encoder: SSL, weights: dict[str, torch.Tensor]) -> None:
    """Give an encoder weights in the names of fairseq."""
    encoder.network.load_state_dict(hub_weights(weights), strict=True)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name):
    pytest.importorskip("transformers")
    reference = Reference(name)
    wav_BT = reference.inputs["wave"]
    states = {}
    for key, options in {
        "output": {"layers": "last", "normalize": False},
        "output_of_normalised": {"layers": "last", "normalize": True, "normalize_floor": 1e-5},
        "states": {"layers": "all", "normalize": False},
        "states with norm": {"layers": "all", "normalize": False, "norm_last": True},
    }.items():
        encoder = SSL(ENCODERS[name], TINY_ENCODER, dropout=0.0, **options)
        load_encoder(encoder, reference.weights)
        states[key], _ = encoder.eval()(wav_BT, full(wav_BT))
    reference.compare("output", states["output"])
    reference.compare("output_of_normalised", states["output_of_normalised"])
    reference.compare("states", states["states"].unflatten(2, (3, 32)).permute(2, 0, 1, 3))
    # As s3prl gives them: inputs of all layers, and the output with its norm.
    reference.compare("output", states["states with norm"][..., -32:])
    encoder = SSL(ENCODERS[name], TINY_ENCODER, dropout=0.0, layers="last", normalize=False)
    load_encoder(encoder, reference.weights)
    encoder.eval().double()
    features = []
    norm = encoder.network.feature_projection.layer_norm
    norm.register_forward_hook(partial(keep_output, features))
    frames_BFD, _ = encoder(wav_BT.double(), full(wav_BT))
    reference.compare("features", features[0])
    (frames_BFD * reference.inputs["weights"]).sum().backward()
    reference.compare("loss", (frames_BFD * reference.inputs["weights"]).sum())
    names = {hub_name(official): official for official in reference.weights}
    reference.compare_gradients(encoder.network, names)


def test_antideepfake():
    pytest.importorskip("transformers")
    reference = Reference("antideepfake_tiny")
    model = "facebook/wav2vec2-xls-r-300m"
    frontend = SSL(model, TINY_ENCODER, dropout=0.0, normalize_floor=1e-5)
    system = nn.ModuleDict(
        {"frontend": frontend, "model": MeanPooling(32), "head": CrossEntropy(32)}
    )
    state = rename_weights("antideepfake", reference.weights)
    system.load_state_dict(state, strict=True)
    system.eval()
    wav_BT = reference.inputs["wave"]
    embedding_BE = system.model(*frontend(wav_BT, full(wav_BT)))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    without_dropout(system)
    embedding_BE = system.model(*frontend(wav_BT.double(), full(wav_BT)))
    loss, logits_BC = system.head.loss(embedding_BE, reference.labels)
    reference.compare("train_logits", logits_BC)
    check_gradients(reference, "antideepfake", system, loss)


def frame_labels(utterances: int, frames: int) -> torch.Tensor:
    """Labels of sets with decisions for frames: of frame t of signal b, (t + b) // 3 % 2."""
    time_F = torch.arange(frames)
    rows = [(time_F + number) // 3 % 2 for number in range(utterances)]
    return torch.stack(rows)


def test_gmlp_of_partialspoof():
    reference = Reference("partialspoof_gmlp")
    model = PartialSpoofGMLP(25 * 1024)
    system = load(reference, "partialspoof", model, P2SGrad(512))
    frames_BFD = reference.inputs["states"].permute(1, 2, 0, 3).flatten(2)
    lengths_B = full(frames_BFD)
    reference.compare("mixed", model.sum(frames_BFD)[:, :10])
    heads = [system.head, *model.heads]

    def cosines(frames_BFD):
        rows = model.resolutions(frames_BFD, lengths_B)
        frames = []
        for resolution, branch, head in zip(rows, model.branches, heads):
            frames.append(head(branch(*resolution)))
        return frames, heads[-1](model.embed_utterance(rows[-1]))

    frames, utterance_BC = cosines(frames_BFD)
    for number, frame_BGC in enumerate(frames):
        reference.compare(f"frames_{2 << number}", frame_BGC)
    reference.compare("utterance", utterance_BC)
    embedding_BGE, _ = model(frames_BFD, lengths_B)
    reference.compare("frames_2", system.head(embedding_BGE))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    frames, utterance_BC = cosines(frames_BFD)
    reference.compare("train_utterance", utterance_BC)
    loss = F.mse_loss(utterance_BC, F.one_hot(reference.labels, 2).float())
    for frame_BGC in frames:
        labels_BG = frame_labels(*frame_BGC.shape[:2])
        loss = loss + F.mse_loss(frame_BGC, F.one_hot(labels_BG, 2).float())
    check_gradients(reference, "partialspoof", system, loss, frames_BFD)


def test_tcm():
    reference = Reference("tcm")
    head = CrossEntropy(144, class_weights=LA_WEIGHTS)
    system = load(reference, "tcm", TCM(1024), head)
    frames_BFD = reference.inputs["features"]
    embedding_BE = system.model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("logits", system.head(embedding_BE))
    check_training(reference, "tcm", system, frames_BFD, reference.labels)


def test_sal():
    reference = Reference("sal")
    system = load(reference, "sal", SAL(25 * 1024), CrossEntropy(256))
    frames_BFD = reference.inputs["states"].permute(1, 2, 0, 3).flatten(2)
    lengths_B = full(frames_BFD)
    rows_BGE, _ = system.model.pool(frames_BFD, lengths_B)
    reference.compare("positions", system.model.position(rows_BGE))
    embedding_BGE, lengths = system.model(frames_BFD, lengths_B)
    reference.compare("logits", system.head(embedding_BGE))
    assert lengths.tolist() == [10, 10]
    labels_BG = frame_labels(2, 10)
    assert (position_targets(labels_BG).numpy() == reference.expected["targets"]).all()
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    rows_BGE, _ = system.model.pool(frames_BFD, lengths_B)
    reference.compare("train_positions", system.model.position(rows_BGE))
    embedded, position_loss = system.model.embed_with_loss(frames_BFD, lengths_B, labels_BG)
    loss, logits_NC = system.head.loss(embedded[0].flatten(0, 1), labels_BG.flatten())
    reference.compare("train_logits", logits_NC.unflatten(0, (2, 10)))
    loss = 10 * (loss + position_loss)
    check_gradients(reference, "sal", system, loss, frames_BFD)


def test_bam():
    reference = Reference("bam")
    system = load(reference, "bam", BAM(1024), CrossEntropy(2048))
    frames_BFD = reference.inputs["features"]
    lengths_B = full(frames_BFD)
    embedding_BGE, boundary_BG, _ = system.model.embed(frames_BFD, lengths_B)
    reference.compare("boundary", boundary_BG.sigmoid())
    halves = (embedding_BGE[..., :64], embedding_BGE[..., 1024 : 1024 + 64])
    reference.compare("embedding", torch.cat(halves, 2))
    reference.compare("logits", system.head(embedding_BGE))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    _, boundary_BG, _ = system.model.embed(frames_BFD, lengths_B)
    reference.compare("train_boundary", boundary_BG.sigmoid())
    labels_BG = frame_labels(2, 12)
    embedded, boundary_loss = system.model.embed_with_loss(frames_BFD, lengths_B, labels_BG)
    loss, logits_NC = system.head.loss(embedded[0].flatten(0, 1), labels_BG.flatten())
    reference.compare("train_logits", logits_NC.unflatten(0, (2, 12)))
    loss = loss + boundary_loss
    check_gradients(reference, "bam", system, loss, frames_BFD)


def test_frame_detection_network_of_cfprf():
    """Each signal alone: the official code mixes the signals of a batch."""
    reference = Reference("cfprf_fdn")
    system = load(reference, "cfprf", CFPRF(1024), SquaredError(128))
    frames_BFD = reference.inputs["features"]
    embedding_BFE, boundary_BFE = system.model.embed(frames_BFD, full(frames_BFD))
    reference.compare("logits", system.head(embedding_BFE))
    reference.compare("boundary", system.model.boundary(boundary_BFE))


def mixed_attention(attention, frames_BFE, mask_BF1):
    """What the official code makes of a batch: frames of each signal see those of all signals."""
    query, key, value_FBE = attention.query_key_value(frames_BFE).transpose(0, 1).chunk(3, 2)
    scores_FBB = query @ key.transpose(1, 2) / ATTENTION_DIM**0.5
    return attention.project(scores_FBB.softmax(0) @ value_FBE).transpose(0, 1)


def test_frame_detection_network_of_cfprf_on_a_batch_that_is_mixed(monkeypatch):
    reference = Reference("cfprf_fdn")
    system = load(reference, "cfprf", CFPRF(1024), SquaredError(128))
    monkeypatch.setattr(TinyAttention, "forward", mixed_attention)
    frames_BFD = reference.inputs["features"]
    lengths_B = full(frames_BFD)
    embedding_BFE, _ = system.model(frames_BFD, lengths_B)
    reference.compare("logits_of_batch", system.head(embedding_BFE))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    labels_BF = frame_labels(2, 60)
    embedded, boundary_loss = system.model.embed_with_loss(frames_BFD, lengths_B, labels_BF)
    loss, logits_NC = system.head.loss(embedded[0].flatten(0, 1), labels_BF.flatten())
    reference.compare("train_logits", logits_NC.unflatten(0, (2, 60)))
    check_gradients(reference, "cfprf", system, loss + boundary_loss, frames_BFD)


def test_eabn():
    reference = bonafide_first(Reference("eabn"))
    trunk = partial(SERes2Net, embed_dim=128)
    model = EABN(60, trunk, branch_weight=0.1, class_weights=LA_WEIGHTS)
    head = WithTriplet(128, partial(Focal, class_weights=LA_WEIGHTS), weight=0.005, margin=32)
    state = rename_weights("eabn", reference.weights)
    # The official branch has no bias here.
    state["model.classifier.linear.bias"] = torch.zeros(2)
    system = nn.ModuleDict({"model": model, "head": head})
    system.load_state_dict(state, strict=True)
    system.eval()
    frames_BFD = reference.inputs["features"]
    embedding_BE = model(frames_BFD, full(frames_BFD))
    reference.compare("embedding", embedding_BE)
    reference.compare("log_probabilities", head(embedding_BE).log_softmax(1))
    _, maps_BPDF = model._weight_frames(frames_BFD)
    attention_BDF = model.mask(maps_BPDF)[:, 0]
    reference.compare("attention", attention_BDF[:2, :, :40])
    branch_BC = model.classifier(maps_BPDF.mean((2, 3)))
    reference.compare("branch_log_probabilities", branch_BC.log_softmax(1))
    without_dropout(system)
    frames_BFD = leaf(frames_BFD)
    embedding_BE, branch_loss = model.embed_with_loss(
        frames_BFD, full(frames_BFD), reference.labels
    )
    loss, logits_BC = head.loss(embedding_BE, reference.labels)
    reference.compare("train_log_probabilities", logits_BC.log_softmax(1))
    model.classifier.linear.bias.requires_grad_(False)
    check_gradients(reference, "eabn", system, loss + branch_loss, frames_BFD)


class StoredDraws:
    """A generator of random numbers that gives stored ones, in the order in which ours are drawn.

    The official code draws the gain of a filter behind its bands, and one for the first power and
    for the noise too, which is of 0 dB.

    Args:
        reference: set of RawBoost.
        algorithm: its algorithm.
    """

    BANDS = 15  # draws of the five bands of a filter

    def __init__(self, reference: Reference, algorithm: int):
        arrays = reference.expected
        draws = list(arrays[f"draws_{algorithm}"])
        self.numbers = []
        if algorithm in (1, 4, 5):
            for power in range(5):
                bands = draws[: self.BANDS]
                gain = draws[self.BANDS]
                del draws[: self.BANDS + 1]
                self.numbers += bands if power == 0 else [gain, *bands]
        if algorithm in (2, 4, 5):
            percent = draws.pop(0)
            self.numbers.append(percent / 100)
        if algorithm in (3, 4):
            *bands, _, ratio = draws
            self.numbers += [*bands, ratio]
            draws = []
        assert not draws
        self.positions = arrays.get(f"positions_{algorithm}")
        self.factors = list(arrays.get(f"factors_{algorithm}", ()))
        self.noise = arrays.get(f"noise_{algorithm}")

    def uniform(self, low: float, high: float, size: int | None = None):
        if size is not None:
            # Theirs are numbers in [0, 1), spread later.
            return low + (high - low) * self.factors.pop(0)
        number = self.numbers.pop(0)
        assert low <= number <= high
        return number

    def choice(self, samples: int, count: int, replace: bool) -> np.ndarray:
        assert count == len(self.positions)
        return self.positions.astype(int)

    def standard_normal(self, samples: int) -> np.ndarray:
        return self.noise


def early(wavs: list[np.ndarray], filters: list[np.ndarray]) -> np.ndarray:
    """Our filters, one sample early, as those of the official code."""
    longer = [np.append(wav, np.float32(0)) for wav in wavs]
    return filter_and_add(longer, filters)[1:]


@pytest.mark.parametrize("algorithm", [1, 2, 3, 4, 5])
def test_rawboost(algorithm, monkeypatch):
    reference = Reference("rawboost")
    rng = StoredDraws(reference, algorithm)
    monkeypatch.setattr(rawboost, "filter_and_add", early)
    boosted_T = RawBoost(1.0, algorithm).apply(reference.inputs["wave"][0].numpy(), rng)
    assert not rng.numbers
    reference.compare(f"output_{algorithm}", torch.from_numpy(boosted_T))
