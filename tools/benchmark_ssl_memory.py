"""Peak memory of fine-tuning a self-supervised encoder, with and without checkpointing.

    python tools/benchmark_ssl_memory.py [--model facebook/wav2vec2-base --batch_size 4 --seconds 4]

Weights are random, nothing is downloaded. Each training is a process of its own. Counted is what it
takes, with weights, gradients and moments: on a GPU tensors, on a CPU memory beyond that of the
libraries.
"""

from wedefense_lite import cli

import os
import resource
import subprocess
import sys

import torch

from wedefense_lite.frontends import SSL
from wedefense_lite.runtime import start_process, use_fused_kernels


def benchmark_ssl_memory(
    model: str = "facebook/wav2vec2-base",
    batch_size: int = 4,
    seconds: float = 4.0,
    steps: int = 2,
    checkpointing: bool | None = None,
) -> None:
    """Print the peaks of two trainings, and how much lower the second one's is.

    Args:
        model: name of an encoder that is known without its files.
        batch_size: waveforms in a batch.
        seconds: length of each.
        steps: of AdamW; from the second on, its moments are there when activations are.
        checkpointing: train here in this way, and print the peak alone.
    """
    if checkpointing is not None:
        print(peak(model, checkpointing, batch_size, round(16000 * seconds), steps))
        return
    peaks = []
    for choice in ("false", "true"):
        sizes = [
            f"--model={model}",
            f"--batch_size={batch_size}",
            f"--seconds={seconds}",
            f"--steps={steps}",
        ]
        command = [sys.executable, __file__, *sizes, f"--checkpointing={choice}"]
        # Memory that is freed is given back, not kept for later.
        env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
        peaks.append(int(ran.stdout))
        print(f"checkpointing {choice:<5} {peaks[-1] / 2**20:8.0f} MiB", flush=True)
    print(f"{1 - peaks[1] / peaks[0]:.1%} lower")


def peak(model: str, checkpointing: bool, batch_size: int, samples: int, steps: int) -> int:
    """The most bytes that some steps of training take."""
    device = start_process().device
    SSL(
        model, {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 1}
    )  # libraries are there now
    before = resident()
    encoder = SSL(model, checkpointing=checkpointing).to(device).train()
    optimizer = torch.optim.AdamW(encoder.parameters())
    use_fused_kernels(optimizer)
    wav_BT, lengths_B = (
        torch.randn(batch_size, samples, device=device),
        torch.full((batch_size,), samples),
    )
    for _ in range(steps):
        encoder(wav_BT, lengths_B.to(device))[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else resident() - before


def resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    cli.run(benchmark_ssl_memory)
