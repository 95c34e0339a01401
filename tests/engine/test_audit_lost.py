"""Where a target was lost, and the beam width that would have kept it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.audit.lost import FOUND, LOST_IN_BEAM, NOT_RETRIEVED, OUTRANKED, lost_target, needed_width
from tests.conftest import Trained

RANKING = pd.DataFrame(
    {"item_id": ["a", "b", "c", "t", "u"], "score": [5.0, 4.0, 3.0, 2.5, 9.0], "rank": [1, 2, 3, 4, np.nan]}
)
NODES = pd.DataFrame(
    [
        (1, "3", -0.1, 1, True),
        (1, "4", -2.0, 2, True),
        (2, "3-1", -0.5, 1, True),
        (2, "4-0", -2.5, 2, True),
        (2, "3-2", -3.25, 3, False),
    ],
    columns=["level", "prefix", "log_prob", "rank", "kept"],
)
CONTRIBUTIONS = pd.DataFrame(
    [
        ("t", "dm", 0.5),
        ("t", "qs", 1.0),
        ("t", "sid_1", 0.2),
        ("a", "dm", 1.5),
        ("a", "qs", 0.5),
        ("a", "sid_1", 0.2),
        ("b", "dm", 1.1),
        ("b", "qs", 1.7),
        ("b", "sid_1", 0.2),
        ("u", "dm", 9.0),
    ],
    columns=["item_id", "feature", "value"],
)


def verdict(item: str, codes: list[int] | None, k: int = 3):
    nodes = None if codes is None else NODES
    return lost_target(item, None if codes is None else np.array(codes), RANKING, nodes, CONTRIBUTIONS, k=k)


def test_on_page_one_is_found_with_its_lead() -> None:
    found = verdict("b", [9, 9])
    assert (found.verdict, found.rank, found.margin) == (FOUND, 2, pytest.approx(1.5))
    assert verdict("t", [3, 1], k=4).margin is None  # nothing is ranked below


@pytest.mark.parametrize("item", ["u", "never seen"])
def test_without_a_rank_it_was_not_retrieved(item: str) -> None:
    assert verdict(item, [3, 1]).verdict == NOT_RETRIEVED


def test_lost_at_a_level_with_rank_and_margin_there() -> None:
    lost = verdict("t", [3, 2])
    assert (lost.verdict, lost.level, lost.rank) == (LOST_IN_BEAM, 2, 3)
    assert lost.margin == pytest.approx(-3.25 + 2.5)


def test_lost_below_the_stored_branches_has_no_rank() -> None:
    lost = verdict("t", [7, 0])
    assert (lost.verdict, lost.level, lost.rank, lost.margin) == (LOST_IN_BEAM, 1, None, None)


@pytest.mark.parametrize("codes", [[3, 1], None])
def test_matched_or_without_sids_it_was_outranked_by_a_feature(codes: list[int] | None) -> None:
    lost = verdict("t", codes)
    assert (lost.verdict, lost.feature, lost.rank) == (OUTRANKED, "dm", 4)
    assert lost.margin == pytest.approx(-0.5)
    # dm .5 - mean(1.5, 1.1) = -.8; qs 1 - mean(.5, 1.7) = -.1; sid_1 0
    assert lost.gaps.set_index("feature")["gap"].to_dict() == pytest.approx({"dm": -0.8, "qs": -0.1, "sid_1": 0.0})


def test_without_contributions_no_feature_is_named() -> None:
    lost = lost_target("t", None, RANKING, None, CONTRIBUTIONS.iloc[:0], k=3)
    assert (lost.verdict, lost.feature) == (OUTRANKED, None)


@given(st.integers(1, 300), st.integers(1, 256))
def test_the_needed_width_is_exact_where_wider_keeps_more(needed: int, cap: int) -> None:
    asked = []

    def search(width: int) -> bool:
        asked.append(width)
        return width >= needed

    assert needed_width(search, cap) == (needed if needed <= cap else None)
    assert max(asked) <= cap
    assert len(asked) <= 2 * np.log2(max(cap, 2)) + 3
    assert len(asked) == len(set(asked))


@given(st.sets(st.integers(1, 256)))
def test_the_width_returned_was_seen_to_keep_the_target(kept_at: set[int]) -> None:
    width = needed_width(lambda w: w in kept_at, 256)
    assert width is None or width in kept_at


def test_the_ledger_says_of_every_relevant_pair_what_the_verdict_says(trained: Trained) -> None:
    run = trained.workspace / "runs" / trained.dsirm_run
    tables = run / "tables"
    scores, told, nodes, sids, ledger = (
        pd.read_parquet(tables / name if (tables / name).is_dir() else tables / f"{name}.parquet")
        for name in ("scores", "contributions", "beam_nodes", "sids", "loss_ledger")
    )
    judgments, items, queries = (
        pd.read_parquet(run / "catalogue" / f"{name}.parquet") for name in ("judgments", "items", "queries")
    )
    relevant = judgments[judgments["grade"] >= 2]
    keys = ["query_id", "item_id"]
    assert ledger[keys].values.tolist() == relevant[keys].sort_values(keys).values.tolist()
    codes = sids.set_index("item_id")["codes"]
    told["feature"] = told["feature"].str.partition(".")[0]  # levels, as on the page
    told = told.groupby([*keys, "feature"], as_index=False)["value"].sum()
    of_query = {name: dict(list(rows.groupby("query_id"))) for name, rows in (("s", scores), ("t", told), ("n", nodes))}
    for row in ledger.astype({"feature": object}).replace({"feature": {np.nan: None}}).itertuples():
        found = lost_target(
            row.item_id, codes[row.item_id], of_query["s"][row.query_id], of_query["n"][row.query_id], of_query["t"][row.query_id]
        )  # fmt: skip
        assert (row.verdict, row.feature) == (found.verdict, found.feature)
        assert (None if pd.isna(row.level) else row.level) == found.level
        if found.verdict in (FOUND, OUTRANKED):
            assert row.rank == found.rank
    assert set(ledger["verdict"]) == {FOUND, NOT_RETRIEVED, LOST_IN_BEAM, OUTRANKED}
    whole = ledger.merge(items[["item_id", "category", "tier"]], on="item_id", suffixes=("", "_of"))
    assert (whole["category"] == whole["category_of"]).all()
    assert (whole["category_tier"] == whole["tier"]).all()
    assert (ledger["query_tier"] == ledger["query_id"].map(queries.set_index("query_id")["tier"])).all()
