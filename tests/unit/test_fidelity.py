"""Systems that carry the name of a published one give what the code of its authors gives.

Weights and inputs are drawn from seeds; tests/reference/fidelity/README.md says by which rules, and
at which commits the values were made.
"""

import pytest
import torch
from refvectors import Reference
from torch import nn

from wedefense_lite.frontends.raw import Sinc
from wedefense_lite.heads import CrossEntropy
from wedefense_lite.interop.official import rename_weights
from wedefense_lite.models.rawnet2 import RawNet2

torch.set_num_threads(1)
# Statistics of a few utterances, in float32 here and in float64 there.
BATCH_TOLERANCE = 1e-4
LA_WEIGHTS = (0.1, 0.9)  # of the classes in the loss, [spoof, bonafide]


def load(reference: Reference, source: str, model: nn.Module, head: nn.Module) -> nn.ModuleDict:
    """Model and head with the weights of a set, in eval mode."""
    system = nn.ModuleDict({"model": model, "head": head})
    system.load_state_dict(rename_weights(source, reference.weights), strict=True)
    return system.eval()


def official_names(reference: Reference, source: str) -> dict[str, str]:
    """Official names by the names here."""
    return rename_weights(source, {name: name for name in reference.weights})


def without_dropout(system: nn.Module) -> nn.Module:
    """The system in training mode, with batch norms on the batch and no dropout."""
    system.train()
    for module in system.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return system


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
    without_dropout(system)
    loss, logits_BC = system.head.loss(system.model(*frames), reference.labels)
    reference.compare("train_logits", logits_BC, BATCH_TOLERANCE)
    reference.compare("loss", loss, BATCH_TOLERANCE)
