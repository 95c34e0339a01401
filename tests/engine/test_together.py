"""Two processes that train one language model do what one does, up to rounding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from engine.config import GeneratorConfig
from engine.errors import ConfigError
from engine.generator.full_training import train_full_generator
from tests.engine.tiny_language_model import write_language_model
from tests.engine.training_together import lessons, main, vectors

ROOT = Path(__file__).parents[2]


class Trained(NamedTuple):
    """Of each seed."""

    weights: list[dict[str, torch.Tensor]]
    history: list[pd.DataFrame]


def trained(folder: Path, processes: int, **changes: object) -> Trained:
    """Trained here, or by so many processes."""
    if not (folder / "model").exists():
        write_language_model(folder / "model", lessons().items)
    settings = {"kind": "full", "model": str(folder / "model"), "batch": 15, "full_lr": 1e-3, "max_tokens": 16,
                "accumulate": 2, "alignment_epochs": 2.0, "query_epochs": 1.0}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(settings | changes), encoding="utf-8")
    if processes == 1:
        main(folder)
    else:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        done = subprocess.run(
            [sys.executable, *torchrun, "-m", "tests.engine.training_together", str(folder)],
            cwd=ROOT, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return Trained(
        [load_file(folder / f"weights{seed}.safetensors") for seed in (0, 1)],
        [pd.read_parquet(folder / f"history{seed}.parquet") for seed in (0, 1)],
    )


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_two_processes_train_what_one_does(tmp_path: Path, lora_rank: int) -> None:
    one = trained(tmp_path, 1, lora_rank=lora_rank)
    for checkpoint in tmp_path.glob("checkpoint*"):
        checkpoint.unlink()
    two = trained(tmp_path, 2, lora_rank=lora_rank)
    for seed in (0, 1):
        assert two.history[seed]["step"].max() >= 10
        pd.testing.assert_frame_equal(two.history[seed], one.history[seed], rtol=1e-4)
        start = load_file(tmp_path / "model" / "model.safetensors")
        learnt = 0.0
        for name, weight in one.weights[seed].items():
            torch.testing.assert_close(two.weights[seed][name], weight, rtol=0, atol=2e-4, msg=name)
            if name in start and start[name].shape == weight.shape:
                learnt = max(learnt, float((weight - start[name]).abs().max()))
        assert learnt > 2e-3, "they learnt ten times what they differ by"
    assert not all(torch.equal(two.weights[0][name], two.weights[1][name]) for name in two.weights[0])


def test_a_batch_holds_an_example_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"generator\.batch=3: 4 processes"):
        train_full_generator(lessons(), vectors(), GeneratorConfig(kind="full", batch=3), seed=0)
