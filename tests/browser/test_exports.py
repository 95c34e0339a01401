"""Every CSV of the tables that tell causes, drivers, losses, words and knowledge: pressed, read back, held against SQL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

from engine import pipeline
from engine.assigning.assign import assign
from engine.datasets.ingest import load
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import serve
from tests.browser.visit import Visit
from tests.conftest import Trained

NEW_ITEMS = 12


def agree(rows: pd.DataFrame, columns: str, told: list[tuple[object, ...]]) -> None:
    """The same rows in whatever order: the exported `columns` (by name, blank apart) against those of SQL."""
    names = columns.split()
    assert told, "SQL finds nothing to compare with"
    wanted = pd.DataFrame(told, columns=names)
    given = rows[names].astype(wanted.dtypes.to_dict())
    pd.testing.assert_frame_equal(
        given.sort_values(names, ignore_index=True), wanted.sort_values(names, ignore_index=True), check_dtype=False
    )


def test_sellers(visit: Visit, snapshot: Snapshot) -> None:
    """Causes told by signal and by code, by query and by item, and the drivers of all results."""
    [(seller, net)] = snapshot.rows(
        """SELECT value, difference FROM exposure WHERE dimension = 'seller' AND discount = 'log2'
           ORDER BY abs(difference) DESC, value LIMIT 1"""
    )
    visit.open("sellers", value=str(seller))
    told = "FROM causes WHERE dimension = 'seller' AND discount = 'log2' AND value = ? AND told = ?"
    parts = visit.export("causes")
    assert str(seller) in parts.head["filters"]
    agree(parts.rows, "part level net", snapshot.rows(f"SELECT part, level, net {told}", seller, "signal"))
    visit.tab("By code")
    codes = visit.export("cause-codes").rows
    agree(codes, "part prefix net", snapshot.rows(f"SELECT part, prefix, 100 * net {told}", seller, "prefix"))
    visit.tab("By query")
    assert visit.export("cause-queries").rows["net"].sum() == pytest.approx(100 * float(str(net)), abs=1e-6)
    visit.tab("By item")
    items = visit.export("cause-items").rows
    for row in items.head(5).to_dict("records"):
        assert [(row["rank"], row["rank_without_sid"])] == snapshot.rows(
            "SELECT rank, rank_without_sid FROM scores WHERE query_id = ? AND item_id = ? AND run_id = ?",
            row["query_id"], row["item_id"], parts.head["run"],
        )  # fmt: skip
    visit.tab("By part of it")
    assert 100 * visit.export("crossing").rows["difference"].sum() == pytest.approx(100 * float(str(net)), abs=1e-6)
    agree(
        visit.export("drivers").rows, "feature mean share",
        snapshot.rows("SELECT feature, mean, share FROM drivers WHERE cohort = 'all'"),
    )  # fmt: skip
    visit.see("exported")


def test_query(visit: Visit, snapshot: Snapshot) -> None:
    """The query log, the ledger, and the judged items behind one of its rows. A query that nobody asked is in no tier."""
    tier_of = "CASE WHEN q.frequency = 0 THEN 'no traffic' ELSE l.query_tier END"
    told = "loss_ledger l JOIN queries q USING (query_id)"
    visit.open("query")
    log = visit.export("query-log").rows
    assert set(log["query_id"]) == {q for (q,) in snapshot.rows("SELECT DISTINCT query_id FROM scores")}
    visit.open("query", part="Where relevant items are lost")
    agree(
        visit.export("ledger").rows, "verdict value n_pairs",
        snapshot.rows(f"SELECT verdict, {tier_of}, count(*) FROM {told} GROUP BY verdict, level, feature, 2"),
    )  # fmt: skip
    ledger = visit.table("Loss ledger")
    tier, n = ledger.column("Query tier")[0], ledger.column("Items")[0]
    ledger.choose(0)
    pairs = visit.export("ledger-pairs").rows
    assert len(pairs) == int(n.replace(",", ""))
    assert set(pairs["query_tier"]) == {tier}
    verdict = str(pairs["verdict"].iloc[0])
    known = set(
        snapshot.rows(f"SELECT query_id, item_id FROM {told} WHERE verdict = ? AND {tier_of} = ?", verdict, tier)
    )
    assert set(zip(pairs["query_id"], pairs["item_id"], strict=True)) <= known
    visit.see("exported")


def test_codebook(visit: Visit, snapshot: Snapshot) -> None:
    """Health and knowledge as stored, and what the map, the table and the shared SIDs hold."""
    visit.open("codebook", health="true", knowledge="true")
    stored = snapshot.rows("SELECT metric, level, value FROM health")
    agree(visit.export("health").rows, "metric level value", stored)
    known = visit.export("knowledge").rows
    assert {"attribute_gain", "coclick_alignment", "label_score", "flip_rate.typo"} <= set(known["metric"])
    metrics = set(known["metric"])
    agree(known, "metric level value", [row for row in stored if row[0] in metrics])
    assert set(visit.export("map").rows["item_id"]) == {i for (i,) in snapshot.rows("SELECT item_id FROM projection")}
    visit.tab("Table")
    agree(
        visit.export("codes").rows, "prefix n_items", snapshot.rows("SELECT prefix, n_items FROM codes WHERE level = 1")
    )
    visit.see("exported")


def test_explain(visit: Visit, snapshot: Snapshot) -> None:
    """The waterfall and the words of a stored pair."""
    [(query, item, text)] = snapshot.rows(
        "SELECT query_id, item_id, text FROM stories JOIN queries USING (query_id) WHERE stories.kind = 'example'"
    )
    visit.open("explain", q=str(query), item=str(item))
    told = visit.export("waterfall")
    steps = told.rows
    [(stored,)] = snapshot.rows(
        "SELECT sum(value) FROM contributions WHERE query_id = ? AND item_id = ? AND run_id = ?",
        query, item, told.head["run"],
    )  # fmt: skip
    assert steps["value"].sum() == pytest.approx(stored, abs=1e-6)
    words = visit.export("words").rows
    assert [str(word) in str(text).lower() for word in words["word"]] == [True] * len(words)
    assert visit.export("swap").rows["name"].str.len().min() > 0
    visit.see("exported")


def test_overview(visit: Visit, snapshot: Snapshot) -> None:
    """Hits, the generator's aim, and the ladder."""
    visit.open(details="How well the model guesses")
    agree(
        visit.export("hits").rows, "segment value",
        snapshot.rows(
            r"SELECT segment, value FROM metrics WHERE regexp_matches(metric, '^hit@\d+\.level_\d+$') AND segment IN "
            "('all', 'seen', 'new', 'split=train, out of fold', 'split=train') AND run_id IN (SELECT default_run FROM snapshot)"
        ),
    )  # fmt: skip
    aim = visit.export("how-well-the-generator-aims").rows
    assert {"validity", "item_hit@5.level_3"} <= set(aim["metric"])
    visit.tab("Ranker by ranker")
    ladder = visit.export("ladder").rows
    agree(
        ladder, "ranker value",
        snapshot.rows(
            "SELECT split_part(metric, '.', 1), value FROM metrics WHERE segment = 'all' AND metric LIKE '%.auc' "
            "AND metric NOT LIKE '%within%' AND run_id IN (SELECT default_run FROM snapshot)"
        ),
    )  # fmt: skip
    visit.see("exported")


def test_generations(browser: Browser, trained: Trained, tmp_path: Path) -> None:
    """What came after training, in both of its tables."""
    workspace, arrivals = tmp_path / "workspace", tmp_path / "arrivals"
    shutil.copytree(trained.workspace, workspace)
    arrivals.mkdir()
    items = load(workspace, trained.fingerprint).items.iloc[:NEW_ITEMS][["item_id", "title", "category"]]
    items.assign(item_id="new-" + items["item_id"]).to_csv(arrivals / "items.csv", index=False)
    assign(arrivals, workspace, trained.dsirm_run)
    pipeline.publish(workspace, [trained.dsirm_run])
    snapshot = Snapshot(workspace)
    with serve(workspace, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "generations")
        visit.open("codebook")
        visit.text("Generations")
        agree(
            visit.export("generations").rows, "generation n_items beyond_p95",
            snapshot.rows("SELECT generation, n_items, beyond_p95 FROM generations"),
        )  # fmt: skip
        agree(
            visit.export("assigned").rows, "item_id sid distance",
            snapshot.rows("SELECT item_id, sid, distance FROM assigned"),
        )  # fmt: skip
        visit.see("exported")
        visit.close()
    snapshot.close()
