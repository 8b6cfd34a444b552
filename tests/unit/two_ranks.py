"""One of two processes that train together; writes what it ended with. Started by the test beside it."""

import hashlib
import json
import sys
from pathlib import Path

import tiny
import torch

from wedefense_lite.training.distributed import join, leave


def digest(module: torch.nn.Module) -> str:
    tensors = (value.contiguous().numpy().tobytes() for value in module.state_dict().values())
    return hashlib.sha256(b"".join(tensors)).hexdigest()


def main(folder: Path) -> None:
    place = join()
    torch.set_num_threads(1)
    own = folder / str(place.rank)
    train, dev = (tiny.corpus(own / name, 8, seed) for seed, name in enumerate(["train", "dev"]))
    saved = []
    exp = tiny.experiment(num_epochs=9, ema_decay=0.5, early_stop_patience=1, lr=0.0, save_step_interval=1)
    trained = tiny.trainer(exp, folder / "exp", train, dev, place)
    synchronise = trained._synchronise

    def noted() -> None:
        synchronise()
        saved.append([digest(trained.task), digest(trained.ema)])

    trained._synchronise = noted
    trained.fit()
    large = tiny.experiment(num_epochs=1, data={"batch_size": 4}, model=tiny.MeanFrame)
    tiny.trainer(large, folder / "together", train, None, place).fit()
    found = {"saved": saved, "epochs": len(trained.history), "dev": trained.history[-1]["dev_loss"]}
    found["weights"] = [value.flatten().tolist() for value in large.system.state_dict().values()]
    (folder / f"rank{place.rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
