"""SepFormer, by SpeechBrain."""

from torch import Tensor

from wedefense_lite import cli
from wedefense_lite.files import InputError
from wedefense_lite.separators.base import Separator

SIZES = "sample_rate", "num_spks"  # in hyperparams.yaml


class SepFormer(Separator):
    """A trained SepFormer (Subakan et al., "Attention is all you need in speech separation", ICASSP 2021).

    It needs SpeechBrain (``pip install 'wedefense_lite[separation]'``), which can't be imported without a torchaudio
    that goes with the installed PyTorch. Code that ``hyperparams.yaml`` names is run, so that who wrote it must be
    trusted. ``speechbrain/sepformer-libri2mix`` and the like work at 8 kHz; their licence is Apache 2.0.

    Args:
        source: a local folder with ``hyperparams.yaml`` and the checkpoints that it names, or a name on the hub.

    Raises:
        InputError: SpeechBrain or the model is not there.
    """

    def __init__(self, source: str):
        super().__init__()
        try:
            from speechbrain.inference.separation import SepformerSeparation
        except (ImportError, OSError, RuntimeError) as error:
            wanted = (
                "pip install 'wedefense_lite[separation]', and a torchaudio made for this PyTorch"
            )
            raise InputError(
                f"SepFormer needs SpeechBrain: {wanted}; importing it: {error}"
            ) from error
        try:
            self.model = SepformerSeparation.from_hparams(source=source)
            self.sample_rate, self.num_talkers = (
                int(getattr(self.model.hparams, name)) for name in SIZES
            )
        except (
            Exception
        ) as error:  # what a file that names classes and their arguments can raise has no end
            raise InputError(
                f"{source}: no SepFormer of SpeechBrain: {cli.in_one_line(str(error))}"
            ) from error

    def forward(self, wav_BT: Tensor) -> Tensor:
        self.model.device = (
            wav_BT.device
        )  # where it moves its input; of itself it stays where it was loaded
        return self.model.separate_batch(wav_BT).transpose(1, 2)
