"""Trains a tiny language model as its process number says: `torchrun --nproc-per-node 2 -m tests.engine.training_together FOLDER`.

FOLDER holds `model`, the published one; `lessons.json`, `config.json`. Process 0 leaves `weights.safetensors` and `history.parquet`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from engine.config import GeneratorConfig
from engine.generator import together
from engine.generator.examples import Lessons
from engine.generator.full_training import follow, train_full_generator

SIZES = (4, 5, 3)


def lessons() -> Lessons:
    """60 titles that say their SID, and as many queries."""
    codes = np.stack([np.random.default_rng(0).integers(0, size, 60) for size in SIZES], axis=1)
    titles = [f"{'abcd'[a]} {'vwxyz'[b]} {'klm'[c]} number {n}" for n, (a, b, c) in enumerate(codes)]
    queries = [f"{'vwxyz'[b]} {'abcd'[a]}" for a, b, _ in codes]
    pairs = np.arange(60)
    return Lessons(titles, codes, queries, pairs, pairs, np.ones(60, dtype=np.float32), SIZES)


def vectors() -> list[np.ndarray]:
    """What the new tokens start from."""
    rng = np.random.default_rng(7)
    return [rng.normal(size=(size, 12)).astype(np.float32) for size in SIZES]


def main(folder: Path) -> None:
    if together.rank():
        follow()
        return
    config = GeneratorConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
    with together.leading():
        for seed in (0, 1):  # two trainings, as two stacks have
            fit = train_full_generator(lessons(), vectors(), config, seed=seed, checkpoint=folder / f"checkpoint{seed}")
            made = fit.model.train().model.state_dict()
            save_file({name: weight.clone() for name, weight in made.items()}, folder / f"weights{seed}.safetensors")
            fit.history.to_parquet(folder / f"history{seed}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    together.leave(0)
