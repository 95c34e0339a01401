"""What SQL reads of a run's answers, against pandas and numpy over all of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pytest

from engine.audit.groups import item_groups
from engine.audit.traffic import DISCOUNTS, discount_weights, traffic_weights
from engine.reporting.aggregates import Aggregates
from engine.reporting.answers import Answers
from tests.answered import write_parts
from tests.conftest import Trained


class Read(NamedTuple):
    """The tiny marketplace's run: all of its answers in memory, and the same in parts on disk."""

    sums: Aggregates
    items: pd.DataFrame
    queries: pd.DataFrame
    judgments: pd.DataFrame
    scores: pd.DataFrame
    beams: pd.DataFrame


def table(folder: Path, name: str) -> pd.DataFrame:
    parts = folder / name
    return pd.read_parquet(parts if parts.is_dir() else folder / f"{name}.parquet")


@pytest.fixture(scope="module", params=[0, 7], ids=["one file", "parts"])
def read(request: pytest.FixtureRequest, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    run, folder = trained.workspace / "runs" / trained.dsirm_run, tmp_path_factory.mktemp("answers")
    items, queries, judgments = (table(run / "catalogue", name) for name in ("items", "queries", "judgments"))
    scores, beams = (table(run / "tables", name) for name in ("scores", "beams"))
    for name, rows in (("scores", scores), ("beams", beams)):
        write_parts(folder, name, rows, request.param)
    with Answers(folder) as answers:
        yield Read(Aggregates(answers, items, queries, judgments), items, queries, judgments, scores, beams)


def ranked(read: Read) -> pd.DataFrame:
    """query, item (positions), weight, rank, rank_without_sid of what counts as exposure."""
    weight = traffic_weights(read.queries["frequency"].to_numpy())
    rows = read.scores[read.scores["rank"].notna()]
    query = pd.Index(read.queries["query_id"]).get_indexer(rows["query_id"])
    item = pd.Index(read.items["item_id"]).get_indexer(rows["item_id"])
    rows = rows.assign(query=query, item=item, weight=weight[query])[lambda r: r["weight"] > 0]
    return rows[["query", "item", "weight", "rank", "rank_without_sid"]].astype(float)


def exposure(rows: pd.DataFrame, d: int, side: int) -> np.ndarray:
    return discount_weights(rows[("rank", "rank_without_sid")[side]].to_numpy(), DISCOUNTS[d])


def test_cells_are_sums_over_a_querys_items_of_a_group(read: Read) -> None:
    rows, weight = ranked(read), read.sums.seen(read.sums.judged_pairs()).weight
    used, query = np.unique(rows["query"].astype(int), return_inverse=True)
    labels = item_groups(read.items)
    assert [d.name for d in read.sums.dimensions()] == list(labels)
    for dimension in read.sums.dimensions():
        assert (dimension.values[dimension.member] == labels[dimension.name].astype(str)).all()
        group = dimension.member[rows["item"].astype(int)]
        for d in range(len(DISCOUNTS)):
            for side in (0, 1):
                plain = np.zeros((len(used), len(dimension.values)))
                np.add.at(plain, (query, group), rows["weight"] * exposure(rows, d, side))
                found = dimension.matrix(weight[dimension.query] * dimension.discounts[d, side], len(weight))
                np.testing.assert_allclose(found.toarray(), plain, atol=1e-9)
                assert found.nnz <= len(np.unique(query * len(dimension.values) + group))


def test_items_queries_and_merit_are_sums_over_all_rows(read: Read) -> None:
    rows, n = ranked(read), len(read.items)
    seen = read.sums.seen(read.sums.judged_pairs())
    for d in range(len(DISCOUNTS)):
        for side in (0, 1):
            plain = np.bincount(rows["item"].astype(int), weights=rows["weight"] * exposure(rows, d, side), minlength=n)
            np.testing.assert_allclose(seen.by_item[d, side], plain / plain.sum(), atol=1e-12)
        by_query = (rows["weight"] * exposure(rows, d, 0)).groupby(rows["query"], sort=True).sum()
        np.testing.assert_allclose(seen.total[d], by_query)
    merit = read.judgments.merge(read.scores[read.scores["rank"].notna()], on=["query_id", "item_id"])
    by_item = merit.groupby("item_id")["grade"].agg(["sum", "size"]).reindex(read.items["item_id"]).fillna(0)
    assert seen.merit.tolist() == by_item["sum"].tolist()
    assert seen.n_merit_pairs.tolist() == by_item["size"].tolist()


def test_pairs_that_the_audit_names_are_read_and_no_others(read: Read) -> None:
    keys = ["query_id", "item_id"]
    columns = [*keys, "grade", "score", "score_without_sid", "rank", "rank_without_sid", "matched_prefix"]
    judged = read.judgments.merge(read.scores, on=keys).sort_values(keys, ignore_index=True)[columns]
    pd.testing.assert_frame_equal(read.sums.judged_pairs(), judged, check_dtype=False)
    top = read.scores[(read.scores["rank"] <= 5) | (read.scores["rank_without_sid"] <= 5)]
    page = top[[*keys, "rank", "rank_without_sid"]].sort_values(keys, ignore_index=True)
    pd.testing.assert_frame_equal(read.sums.pages(5), page, check_dtype=False)
    best = read.scores.groupby("item_id")["rank"].min().reindex(read.items["item_id"]).astype(float)
    assert read.sums.best_rank().tolist() == best.fillna(np.inf).tolist()


def test_beams_reach_prefixes_of_every_level(read: Read) -> None:
    weight = dict(zip(read.queries["query_id"], traffic_weights(read.queries["frequency"].to_numpy()), strict=True))
    through: dict[str, set[str]] = {}
    for query_id, codes in zip(read.beams["query_id"], read.beams["codes"], strict=True):
        for level in range(1, len(codes) + 1):
            through.setdefault("-".join(map(str, codes[:level])), set()).add(query_id)
    found = read.sums.beam_reach(len(read.beams["codes"].iloc[0])).set_index("prefix")
    assert found["n_queries"].to_dict() == {prefix: len(queries) for prefix, queries in through.items()}
    for prefix, queries in through.items():
        share = sum(weight[query] for query in queries) / sum(weight.values())
        assert found.loc[prefix, "query_weight"] == pytest.approx(share, abs=1e-12)
    counted = read.beams[read.beams["query_id"].map(weight) > 0].sort_values(["query_id", "rank"])
    first = read.sums.first_codes()
    assert first["code"].tolist() == [codes[0] for codes in counted["codes"]]
    assert first["log_prob"].tolist() == counted["log_prob"].tolist()


def test_statements_read_answers_and_parameters_and_nothing_of_the_program(tmp_path: Path) -> None:
    write_parts(tmp_path, "scores", pd.DataFrame({"query_id": ["q", "r"], "rank": [1, 2]}), 2)
    hidden = pd.DataFrame({"secret": [1]})
    with Answers(tmp_path) as answers:
        assert answers.has("scores")
        assert not answers.has("beams")
        assert answers.query("SELECT query_id FROM scores WHERE rank > $k", k=1)["query_id"].tolist() == ["r"]
        with pytest.raises(duckdb.CatalogException, match="hidden"):
            answers.query("SELECT * FROM hidden")
        answers.lookup("shown", hidden)
        assert len(answers.query("SELECT * FROM shown")) == 1


def test_a_run_without_scores_or_beams_has_no_exposure(tmp_path: Path) -> None:
    items = pd.DataFrame({"item_id": ["a"], "price": [1.0]})
    queries, judgments = (
        pd.DataFrame({"query_id": ["q"], **more}) for more in ({"frequency": 1.0}, {"item_id": "a", "grade": 1.0})
    )
    with Answers(tmp_path) as answers:
        sums = Aggregates(answers, items, queries, judgments)
        assert not sums.scored
        assert not sums.compared
        assert sums.beam_reach(3) is None
        assert len(sums.judged_pairs()) == len(sums.first_codes()) == 0
        assert np.isnan(sums.seen(sums.judged_pairs()).by_item).all()
        assert sums.best_rank().tolist() == [np.inf]
