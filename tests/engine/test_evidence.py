"""What is told behind a signal is what the signal was computed from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.answering.live import LiveRun
from tests.conftest import Trained


@pytest.fixture(scope="module")
def live(trained: Trained) -> LiveRun:
    return LiveRun.load(trained.workspace, trained.dsirm_run)


@pytest.fixture(scope="module")
def pairs(live: LiveRun) -> list[tuple[str, str, dict[str, float]]]:
    """(query, item, column -> value that the ranker read) of the first and a later candidate of some queries."""
    found = []
    names = live.served.sids.columns.name  # type: ignore[union-attr]
    for text in live.served.problem.catalogue.queries["text"].iloc[[0, 7, 40]]:
        scores = live.query(str(text)).scores
        assert scores is not None
        for row in scores[scores["retrieved"]].sort_values("rank").iloc[[0, 12]].to_dict("records"):
            values = np.asarray(row["signals"])[-len(names) :]
            found.append((str(text), str(row["item_id"]), dict(zip(names, values.tolist(), strict=True))))
    return found


def test_the_list_is_the_weighted_share_of_the_fellows(
    live: LiveRun, pairs: list[tuple[str, str, dict[str, float]]]
) -> None:
    for text, item, read in pairs:
        found = live.fellows(text, item)
        rows = found.rows
        assert item not in set(rows["item_id"])
        for level in (1, 2, 3):
            share = (rows["weight"] * rows[f"together_{level}"]).sum() / found.n_clusterings / rows["weight"].sum()
            assert share == pytest.approx(read[f"list_{level}"], abs=1e-6)


def test_clicks_are_those_of_like_past_queries(live: LiveRun, pairs: list[tuple[str, str, dict[str, float]]]) -> None:
    some = 0
    for text, item, read in pairs:
        found = live.like_past(text, item)
        total = found.queries.loc[found.queries["kind"] == "click", "weight"].sum()
        clicks = found.pieces[found.pieces["kind"] == "click"]
        for level in (1, 2, 3):
            share = (
                (clicks["weight"] * clicks["value"] * clicks[f"together_{level}"]).sum() / found.n_clusterings / total
            )
            assert share == pytest.approx(read[f"clicks_{level}"], abs=1e-5)
            some += share > 0
    assert some, "no pair has any evidence: the test shows nothing"


def test_past_queries_are_others_and_come_nearest_first(
    live: LiveRun, pairs: list[tuple[str, str, dict[str, float]]]
) -> None:
    for text, item, _ in pairs:
        queries = live.like_past(text, item).queries
        assert text not in set(queries["text"])
        for _, of in queries.groupby("kind"):
            assert of["weight"].is_monotonic_decreasing
            assert of["cosine"].iloc[0] == pytest.approx(of["cosine"].max(), abs=1e-6)
            # A weight is e to the power of how much less alike a query is.
            assert np.exp((of["cosine"] - of["cosine"].iloc[0]) / 0.07).tolist() == pytest.approx(
                of["weight"].tolist(), rel=1e-3
            )


def test_words_are_counted_in_the_titles_under_the_code(
    live: LiveRun, pairs: list[tuple[str, str, dict[str, float]]]
) -> None:
    served = live.served
    items, codes, reader = (
        served.problem.catalogue.items,
        served.sids.codes,
        served.problem.first.lexical.lexicon.reader,
    )  # type: ignore[union-attr]
    titles = [set(reader.tokens(t)) for t in items["title"]]
    position = pd.Index(items["item_id"])
    for text, item, _ in pairs:
        found = live.words(text, item)
        at = position.get_loc(item)
        for row in found.rows.to_dict("records"):
            under = np.flatnonzero((codes[:, : row["level"]] == codes[at, : row["level"]]).all(axis=1))
            assert row["titles"] == len(under)
            assert row["holding"] == sum(row["word"] in titles[i] for i in under)
            assert row["everywhere"] == sum(row["word"] in t for t in titles)
        assert not any(word in t for word in found.unknown for t in titles)


def test_shared_codes_are_the_runs_own(live: LiveRun, pairs: list[tuple[str, str, dict[str, float]]]) -> None:
    codes = dict(zip(live.served.item_ids, live.served.sids.codes.tolist(), strict=True))  # type: ignore[union-attr]
    for text, item, _ in pairs:
        for row in live.fellows(text, item).rows.to_dict("records"):
            own, other = codes[item], codes[row["item_id"]]
            assert row["shared"] == next(
                (i for i, (a, b) in enumerate(zip(own, other, strict=True)) if a != b), len(own)
            )
            assert row["together_1"] >= (row["shared"] > 0)
