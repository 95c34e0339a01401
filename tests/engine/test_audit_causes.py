"""Causes of a gain and a loss: every row accounted for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.audit.causes import causes, exposure_total
from engine.audit.traffic import DISCOUNTS

D = 1 / np.log2(1 + np.arange(1, 6))


def rows(**columns: list) -> pd.DataFrame:
    return pd.DataFrame(columns).assign(query_id="q", weight=2.0)


def test_a_gain_goes_to_the_items_own_prefix_and_a_loss_to_those_who_overtook() -> None:
    table = rows(
        rank=[1, 2, 3, 4],
        rank_without_sid=[3, 1, 4, 2],
        matched_prefix=["7", "7-1", None, "5"],
        in_group=[True, False, False, True],
    )
    found = causes(table, total=10.0)
    net = {row["prefix"] if isinstance(row["prefix"], str) else None: row for row in found.by_prefix.to_dict("records")}
    # The first item rose from 3 to 1 under '7'. The last fell from 2 to 4: overtaken by rank 1 ('7') and rank 3 (none).
    gain, loss = 2 * (D[0] - D[2]) / 10, 2 * (D[3] - D[1]) / 10
    assert net["7"]["gain"] == pytest.approx(gain)
    assert net["7"]["loss"] == pytest.approx(loss / 2)
    assert net[None]["net"] == pytest.approx(loss / 2)
    assert "5" not in net
    assert found.change == pytest.approx(gain + loss)
    assert found.by_query["net"].tolist() == pytest.approx([gain + loss])


def test_a_group_that_did_not_move_has_no_causes() -> None:
    table = rows(rank=[1, 2], rank_without_sid=[1, 2], matched_prefix=["7", None], in_group=[True, False])
    found = causes(table, total=1.0)
    assert len(found.by_prefix) == len(found.by_query) == 0
    assert found.change == 0.0


def test_exposure_total_counts_every_candidate() -> None:
    assert exposure_total(np.array([2, 1, 0]), np.array([3.0, 1.0, 5.0])) == pytest.approx(3 * (D[0] + D[1]) + D[0])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(0.1, 1e4)), min_size=1, max_size=6),
    st.sampled_from(DISCOUNTS),
)
def test_rows_sum_exactly_to_the_change_of_share(queries: list[tuple[int, int, float]], discount: str) -> None:
    frames = []
    for position, (n, seed, weight) in enumerate(queries):
        rng = np.random.default_rng(seed)
        frames.append(
            pd.DataFrame(
                {
                    "query_id": f"q{position}",
                    "weight": weight,
                    "rank": rng.permutation(n) + 1,
                    "rank_without_sid": rng.permutation(n) + 1,
                    "matched_prefix": rng.choice(np.array(["1", "1-2", None], dtype=object), n),
                    "in_group": rng.random(n) < 0.5,
                }
            )
        )
    table = pd.concat(frames, ignore_index=True).sample(frac=1, random_state=0)
    total = exposure_total(np.array([n for n, _, _ in queries]), np.array([w for _, _, w in queries]), discount)
    found = causes(table, total=total, discount=discount)
    for told in (found.by_prefix, found.by_query):
        assert told["net"].sum() == pytest.approx(found.change, abs=1e-12)
        assert (told["gain"] + told["loss"]).to_numpy() == pytest.approx(told["net"].to_numpy(), abs=1e-15)
        assert (told["gain"] >= 0).all()
        assert (told["loss"] <= 0).all()
