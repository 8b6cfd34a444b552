"""Encoders with back ends: every pair trains, frozen and fine-tuned; configurations have the
published sizes.
"""

from functools import partial
from pathlib import Path

import pytest
import tiny
import torch

from wedefense_lite.frontends import SpecAugment, encoders
from wedefense_lite.frontends.ssl import SSL
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.localization.tasks import Localization
from wedefense_lite.mixtures.tasks import DirectTalkers, SeparatedTalkers
from wedefense_lite.models.gmlp import GMLP
from wedefense_lite.models.mhfa import MHFA
from wedefense_lite.models.nes2net import Nes2Net, Nes2NetX
from wedefense_lite.models.sls import SLS
from wedefense_lite.models.spectra import Spectra
from wedefense_lite.models.ssl_aasist import SSLAASIST
from wedefense_lite.models.utterance_gmlp import UtteranceGMLP
from wedefense_lite.models.weighted_sum import WeightedSum
from wedefense_lite.separators.convtasnet import ConvTasNet
from wedefense_lite.systems.batch import Batch
from wedefense_lite.systems.experiment import load_experiment
from wedefense_lite.systems.tasks import Detection, Task

torch.set_num_threads(1)
CONF = Path(__file__).parents[2] / "conf"
CONFIGS = [path for path in sorted(CONF.glob("*.yaml")) if "class_path: SSL" in path.read_text()]
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
FAMILIES = {
    "wav2vec2": {"model_type": "wav2vec2"},
    "xls-r": {"model_type": "wav2vec2"} | LAYER_NORM,
    "hubert": {"model_type": "hubert"},
    "wavlm": {"model_type": "wavlm"},
}
BACK_ENDS = [
    ("all", partial(WeightedSum, num_layers=3, embed_dim=8)),
    ("all", partial(MHFA, num_layers=3, heads=2, compressed_dim=4, embed_dim=8)),
    ("all", partial(SLS, num_layers=3, embed_dim=8, pooled_frames=5)),
    ("all", partial(UtteranceGMLP, num_layers=3, width=16, blocks=2, kernel=5)),
    ("last", partial(Nes2Net, scale=4)),
    ("last", partial(Nes2NetX, scale=4)),
    ("last", partial(SSLAASIST, projected_dim=12, channels=4, node_dim=8, graph_dim=4)),
    ("last", partial(Spectra, channels=8, joined_channels=12, scale=2)),
]


def batch(count: int = 4, samples: int = 4800) -> Batch:
    wav = torch.randn(count, samples, generator=torch.Generator().manual_seed(0)) * 0.1
    labels = torch.tensor([0, 1] * (count // 2))
    track = torch.cat(
        (labels[:, None].repeat(1, samples // 2), 1 - labels[:, None].repeat(1, samples // 2)), 1
    )
    talkers = torch.stack((labels, 1 - labels), 1)
    stems = torch.stack((0.9 * wav, 0.1 * wav.roll(7)), 1)
    lengths = torch.full((count,), samples)
    return Batch(
        [str(number) for number in range(count)], wav, lengths, labels, track, talkers, stems
    )


def two_steps(task: Task) -> list[float]:
    losses, optimizer = [], torch.optim.Adam(task.parameter_groups(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = task(batch())[0]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("trained", ["all", "none"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("layers", "model"), BACK_ENDS, ids=[model.func.__name__ for _, model in BACK_ENDS]
)
def test_every_back_end_trains_on_every_family(layers, model, family, trained):
    """Behind SpecAugment, which once cut the gradient to the encoder."""
    torch.manual_seed(0)
    encoder = SSL("tiny", tiny.ENCODER | FAMILIES[family], layers, trained, dropout=0.0)
    task = Detection(
        encoder, model, CrossEntropy, SpecAugment(p=1.0, max_frames=3, max_bins=3)
    ).train()
    before = {name: value.clone() for name, value in task.state_dict().items()}
    assert torch.tensor(two_steps(task)).isfinite().all()
    for name, parameter in task.named_parameters():
        moved = not torch.equal(parameter, before[name])
        if name.startswith("frontend.") and trained == "none":
            assert parameter.grad is None and not moved, name
        elif parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    fine_tuned = [value.grad for value in encoder.parameters() if value.requires_grad]
    assert bool(fine_tuned) is (trained == "all") and all(
        grad.any() for grad in fine_tuned if grad.dim() > 1
    )
    task.eval()
    wavs = batch()
    with torch.no_grad():
        single = task.embed(wavs._replace(wav_BT=wavs.wav_BT[1:2], lengths_B=wavs.lengths_B[:1]))
        torch.testing.assert_close(single, task.embed(wavs)[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("trained", ["all", "none"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", ["frames", "separated", "joint", "direct"])
def test_the_same_encoders_serve_frames_and_talkers(task, family, trained):
    torch.manual_seed(0)
    pooled = partial(MHFA, num_layers=3, heads=2, compressed_dim=4, embed_dim=8)
    gated = partial(GMLP, width=16, layers=1, coarser=2, kernel=5)
    windows = {"window_seconds": 1.0, "overlap_seconds": 0.2}
    encoder = SSL(
        "tiny",
        tiny.ENCODER | FAMILIES[family],
        "last" if task == "frames" else "all",
        trained,
        dropout=0.0,
    )
    separator = ConvTasNet(2, features=8, bottleneck=4, hidden=8, layers=1, stacks=1)
    system = {
        "frames": lambda: Localization(encoder, gated, CrossEntropy, **windows),
        "separated": lambda: SeparatedTalkers(encoder, pooled, CrossEntropy, separator=separator),
        "joint": lambda: SeparatedTalkers(
            encoder, pooled, CrossEntropy, separator=separator, joint=True
        ),
        "direct": lambda: DirectTalkers(encoder, pooled, CrossEntropy),
    }[task]().train()
    assert torch.tensor(two_steps(system)).isfinite().all()
    fine_tuned = [value.grad for value in encoder.parameters() if value.requires_grad]
    assert bool(fine_tuned) is (trained == "all") and all(
        grad.any() for grad in fine_tuned if grad.dim() > 1
    )
    wavs = batch(2, 24000)  # of frames, more than a window
    with torch.no_grad():
        found = system.eval().logits(wavs)
        single = torch.cat([system.logits(one) for one in wavs.each()])
    assert found.shape == {"frames": (2, 75, 2), "direct": (2, 3, 2)}.get(task, (2, 2, 2))
    torch.testing.assert_close(single, found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_loss_of_every_configuration_falls(config):
    """With an encoder in miniature of the same kind, by the configuration's own optimizer, dropout
    held.
    """
    experiment = tiny.miniature(config)
    task, losses = experiment.system.train(), []
    optimizer = experiment.training.optimizer(task.parameter_groups())
    for group in optimizer.param_groups:
        group["lr"] *= 0.01 if experiment.training.schedule.warmup_epochs else 1
    for _ in range(4):
        torch.manual_seed(1)
        loss = task(batch())[0]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0], losses


# XLS-R 300M as fairseq has it, 317,390,592 parameters, holds more, which only pretraining uses: a
# vector that stands for masked frames, a codebook of 2 x 320 entries of 384, what chooses from it,
# and two projections. Of WavLM only rounded sizes are published, with pretraining's output layer.
XLSR = 315_437_696
ONLY_PRETRAINED = 1024 + 640 * 384 + (512 + 1) * 640 + (768 + 1) * 768 + (1024 + 1) * 768


# What differs between their config.json, parameters that their papers state in millions (of the
# whole of pretraining), and those of the encoder.
LARGE_CONFIG = {
    "num_attention_heads": 16,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}
PUBLISHED_ENCODERS = {
    "facebook/wav2vec2-xls-r-300m": (1024, 4096, 24, 768, 317, 315_437_696),
    "facebook/wav2vec2-xls-r-1b": (1280, 5120, 48, 1024, 965, 962_496_128),
    "facebook/wav2vec2-xls-r-2b": (1920, 7680, 48, 1024, 2162, 2_159_257_728),
    "facebook/mms-300m": (1024, 4096, 24, 768, 317, 315_437_696),
    "facebook/mms-1b": (1280, 5120, 48, 1024, 965, 962_496_128),
}


@pytest.mark.parametrize("name", PUBLISHED_ENCODERS)
def test_xlsr_and_mms_are_built_in_their_published_sizes(name):
    width, inner, depth, codes, millions, encoder = PUBLISHED_ENCODERS[name]
    sizes = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": depth}
    config = {"model_type": "wav2vec2"} | LARGE_CONFIG | sizes
    assert encoders.parse_architecture(config, name) == encoders.BASE | encoders.PUBLISHED[name]
    library = encoders.import_transformers()
    with torch.device("meta"):
        frontend = SSL(name, layers="last")
        pretrained = library.AutoModelForPreTraining.from_config(
            library.AutoConfig.for_model(**config, codevector_dim=codes, proj_codevector_dim=codes)
        )
    assert sum(value.numel() for value in pretrained.parameters()) // 10**6 in (
        millions,
        millions - 1,
    )
    assert sum(value.numel() for value in frontend.network.parameters()) == encoder
    assert frontend.normalize and frontend.mask and frontend.stable


def test_mhubert_147_is_of_the_size_of_a_base_model():
    """95 M by its paper, less the vector that stands for masked frames; without normalisation and masks, as the group norm says."""
    config = {"model_type": "hubert", "do_stable_layer_norm": False, "feat_extract_norm": "group"}
    name = "utter-project/mHuBERT-147"
    assert encoders.parse_architecture(config, name) == encoders.BASE | encoders.PUBLISHED[name]
    with torch.device("meta"):
        frontend = SSL(name, layers="all")
    assert sum(value.numel() for value in frontend.network.parameters()) == 94_371_712 - 768
    assert (frontend.num_layers, frontend.dim) == (13, 13 * 768)
    assert not (frontend.normalize or frontend.mask)


@pytest.mark.parametrize(
    ("name", "back_end", "published"),
    [
        ("xlsr_aasist", 447_242 - 512, 317_837_834 - 512 - ONLY_PRETRAINED),
        ("xlsr_mhfa", 1_315_410 + 1026, XLSR + 1_315_410 + 1026),
        ("xlsr_sls", 23_399_429, XLSR + 23_399_429),
        ("xlsr_nes2net", 512_039, pytest.approx(317_902_600 - ONLY_PRETRAINED, abs=50)),
        ("xlsr_ecapa", 2_894_530, XLSR + 2_894_530),
        ("wavlm_large_mhfa", 1_315_410 + 1026, pytest.approx(316_620_000 + 1_316_436, rel=0.005)),
        ("wavlm_base_frozen", 1_249_850 + 1026, pytest.approx(94_700_000 + 1_250_876, rel=0.005)),
    ],
)
def test_configurations_have_the_published_sizes(name, back_end, published):
    """Without weights; AASIST less 512 parameters in layers that the official code never uses."""
    with torch.device("meta"):
        task = load_experiment(CONF / f"{name}.yaml").system
    parameters = {
        part: sum(value.numel() for value in getattr(task, part).parameters())
        for part in task._modules
    }
    assert parameters["model"] + parameters["head"] == back_end
    assert sum(parameters.values()) == published
