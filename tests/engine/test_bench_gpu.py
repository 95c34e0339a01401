"""The GPU's script, with a narrow language model and twice on this machine's CPU: it runs whole, and a device agrees with itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench import bench_gpu
from tests.bench.bench_gpu import Task


def test_it_runs_whole_and_a_device_agrees_with_itself(tmp_path: Path) -> None:
    task = Task(items=200, queries=30, steps=3, slow_steps=2, slow_queries=4, sizes=(8, 6, 5), shape={}, preset="tiny")
    bench_gpu.prepare(tmp_path, task)
    figures = [bench_gpu.measure(tmp_path, task, first=first) for first in (True, False)]
    agreement = bench_gpu.apart(tmp_path)
    assert [(value, well) for _, value, well in agreement] == [(0.0, True), *[(1.0, True)] * 3]
    assert all(value > 0 for found in figures for name, value in found.items() if name != "device")
    text = bench_gpu.report(figures, agreement)
    assert text.count("within tolerance") == 4
    assert "NOT" not in text


def test_answers_that_differ_are_told(tmp_path: Path) -> None:
    same = {"codes": np.zeros((100, 3)), "beams": np.zeros((9, 5, 3)), "language model's beams": np.zeros((4, 5, 3))}
    np.savez(tmp_path / "first.npz", vectors=np.zeros((2, 2)), **same)
    moved = same["codes"].copy()
    moved[:2, 1] = 7
    np.savez(tmp_path / "second.npz", vectors=np.full((2, 2), 2e-4), **{**same, "codes": moved})
    assert bench_gpu.apart(tmp_path)[:2] == [
        ("largest difference of a vector's entry", pytest.approx(2e-4), False),
        ("codes alike", 0.98, False),
    ]
