"""How faithful a map is around each item."""

from __future__ import annotations

import numpy as np

from engine.projection import faithful, kept_neighbours

LINE = np.arange(6, dtype=np.float32)[:, None]


def test_a_true_map_keeps_every_neighbour_and_a_torn_one_only_those_on_the_same_side() -> None:
    straight = np.column_stack([LINE, np.zeros_like(LINE)])
    everybody = np.arange(6)
    assert kept_neighbours(LINE, straight, everybody, 2).tolist() == [1] * 6
    torn = straight + np.float32([[0, 0]] * 3 + [[100, 0]] * 3)
    # 2 has the neighbours 1 and 3; torn from 3 it is left with 1 and 0. 3 likewise; the others keep both.
    assert kept_neighbours(LINE, torn, everybody, 2).tolist() == [1, 1, 0.5, 0.5, 1, 1]


def test_every_item_of_a_small_catalogue_is_measured_and_nobody_of_a_tiny_one() -> None:
    rng = np.random.default_rng(0)
    x, strata = rng.normal(size=(50, 4)), np.zeros(50, dtype=np.int64)
    found = faithful(x, x[:, :2].astype(np.float32), strata, 5, seed=1)
    assert found.sample.tolist() == list(range(50))
    assert 0 < found.kept.mean() < 1
    assert len(faithful(x[:6], x[:6, :2].astype(np.float32), strata[:6], 5, seed=1).kept) == 0
