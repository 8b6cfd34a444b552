"""Peak memory of fine-tuning a self-supervised encoder, with and without checkpointing.

    python tools/benchmark_ssl_memory.py [--model facebook/wav2vec2-base --batch_size 4 --seconds 4]

Weights are random, nothing is downloaded. Each run is a process of its own: on a GPU its peak is what tensors take,
on a CPU all of its memory, so the libraries too.
"""

import resource
import subprocess
import sys

import torch

from wedefense_lite import cli
from wedefense_lite.frontends import SSL


def benchmark_ssl_memory(
    model: str = "facebook/wav2vec2-base",
    batch_size: int = 4,
    seconds: float = 4.0,
    steps: int = 2,
    checkpointing: bool | None = None,
) -> None:
    """Print the peak of two trainings, and how much lower the second one's is.

    Args:
        model: name of an encoder that is known without its files.
        batch_size: waveforms in a batch.
        seconds: length of each.
        steps: of AdamW; from the second on, its moments are there when activations are.
        checkpointing: train here in this way, and print the peak alone.
    """
    if checkpointing is not None:
        print(peak(SSL(model, checkpointing=checkpointing), batch_size, round(16000 * seconds), steps))
        return
    peaks = []
    for choice in ("false", "true"):
        command = [sys.executable, __file__, "--model", model, f"--batch_size={batch_size}", f"--seconds={seconds}"]
        ran = subprocess.run([*command, f"--checkpointing={choice}"], check=True, stdout=subprocess.PIPE, text=True)
        peaks.append(float(ran.stdout))
        print(f"checkpointing {choice:<5} {peaks[-1] / 2**20:8.0f} MiB", flush=True)
    print(f"{1 - peaks[1] / peaks[0]:.1%} lower")


def peak(encoder: SSL, batch_size: int, samples: int, steps: int) -> int:
    """The most bytes that some steps of training take."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = encoder.to(device).train()
    optimizer = torch.optim.AdamW(encoder.parameters())
    wav_BT, lengths_B = torch.randn(batch_size, samples, device=device), torch.full((batch_size,), samples)
    for _ in range(steps):
        encoder(wav_BT, lengths_B.to(device))[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    cli.run(benchmark_ssl_memory)
