"""SepFormer, by SpeechBrain."""

from wedefense_lite import cli

from torch import Tensor

from wedefense_lite.files import InputError
from wedefense_lite.separators.base import Separator


class SepFormer(Separator):
    """Trained SepFormer of SpeechBrain.

    It needs the extra ``separation``, and a torchaudio that goes with the installed PyTorch. Code
    that ``hyperparams.yaml`` names is run, so its author must be trusted.
    ``speechbrain/sepformer-libri2mix`` and its like work at 8 kHz; their licence is Apache 2.0.

    Source: Subakan et al., "Attention is all you need in speech separation", ICASSP 2021.

    Args:
        source: local folder with ``hyperparams.yaml`` and the checkpoints that it names, or a name
            on the hub.

    Raises:
        InputError: SpeechBrain can't be imported, or the model can't be loaded.
    """

    # A configuration with this class runs code, so a user must name this package to trust it.
    runs_code_with = "speechbrain"

    def __init__(self, source: str):
        super().__init__()
        try:
            from speechbrain.inference.separation import SepformerSeparation
        except (ImportError, OSError, RuntimeError) as error:
            remedy = (
                "pip install 'wedefense_lite[separation]', and a torchaudio made for this PyTorch"
            )
            raise InputError(
                f"SepFormer needs SpeechBrain: {remedy}; importing it: {error}"
            ) from error
        try:
            self.model = SepformerSeparation.from_hparams(source=source)
            self.sample_rate = int(self.model.hparams.sample_rate)
            self.num_talkers = int(self.model.hparams.num_spks)
        # The file names classes and their arguments, so any error can come of it.
        except Exception as error:
            raise InputError(
                f"{source}: no SepFormer of SpeechBrain: {cli.in_one_line(str(error))}"
            ) from error

    def forward(self, wav_BT: Tensor) -> Tensor:
        # It moves its input to this device, which stays the one that it was loaded on.
        self.model.device = wav_BT.device
        return self.model.separate_batch(wav_BT).transpose(1, 2)
