"""The map: landmarks by stratum, placement among them, the same every time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ProjectionConfig
from engine.projection import Projection, project, stratified_sample


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    strata = np.repeat(np.arange(4), 60)
    centres = np.eye(4, 8) * 20
    return (centres[strata] + rng.normal(size=(240, 8))).astype(np.float32), strata


@pytest.fixture(scope="module")
def projected(clusters: tuple[np.ndarray, np.ndarray]) -> Projection:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made = project(*clusters, ProjectionConfig(landmarks=160, neighbors=10), seed=3)
    assert torch.get_num_threads() == 1, "last bits of what comes after depend on torch's threads"
    torch.set_num_threads(threads)
    return made


def test_clusters_stay_together(clusters: tuple[np.ndarray, np.ndarray], projected: Projection) -> None:
    strata = clusters[1]
    centre = np.stack([projected.xy[strata == s].mean(axis=0) for s in range(4)])
    nearest = np.linalg.norm(projected.xy[:, None] - centre[None], axis=2).argmin(axis=1)
    assert (nearest == strata).mean() > 0.98
    assert projected.info["trustworthiness"] > 0.85
    assert 0.1 < projected.info["neighbour_preservation"] <= 1


def test_landmarks_are_laid_and_the_rest_placed_among_them(projected: Projection) -> None:
    assert projected.landmark.sum() == projected.info["landmarks"] == 160
    assert np.isfinite(projected.xy).all()
    laid = projected.xy[projected.landmark]
    assert (projected.xy >= laid.min(axis=0) - 1e-4).all()
    assert (projected.xy <= laid.max(axis=0) + 1e-4).all()
    assert json.loads(projected.info["parameters"])["init"] == "pca"


def test_the_same_seed_gives_the_same_map(clusters: tuple[np.ndarray, np.ndarray], projected: Projection) -> None:
    again = project(*clusters, ProjectionConfig(landmarks=160, neighbors=10), seed=3)
    assert np.array_equal(again.xy, projected.xy)
    assert again.info == projected.info


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_a_handful_of_items_has_a_map_too(n: int) -> None:
    x = np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)
    found = project(x, np.zeros(n, dtype=np.int64), ProjectionConfig(), seed=0)
    assert found.xy.shape == (n, 2)
    assert np.isfinite(found.xy).all()


def test_equal_items_are_no_trouble() -> None:
    x = np.repeat(np.random.default_rng(0).normal(size=(10, 4)), 6, axis=0).astype(np.float32)
    found = project(x, np.arange(60) % 3, ProjectionConfig(landmarks=40, neighbors=5), seed=0)
    assert np.isfinite(found.xy).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=200), st.integers(1, 200))
def test_every_stratum_has_its_share_of_landmarks(strata: list[int], n: int) -> None:
    chosen = stratified_sample(np.array(strata), n, seed=0)
    assert len(chosen) == min(n, len(strata))
    assert len(np.unique(chosen)) == len(chosen)
    values, size = np.unique(strata, return_counts=True)
    if n >= len(values):
        taken = np.array([(np.array(strata)[chosen] == value).sum() for value in values])
        assert (taken >= 1).all()
        assert (taken <= size).all()
    assert np.array_equal(chosen, stratified_sample(np.array(strata), n, seed=0))
