"""Every sentence and count of the What-if page, recomputed from SQL or from the run itself."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from told import find, told

from engine.answering.live import LiveRun

Sql = Callable[..., list[tuple[Any, ...]]]
Page = Callable[..., AppTest]


def one(sql: Sql, query: str, *values: object) -> Any:
    [(value,)] = sql(query, *values)
    return value


@pytest.fixture
def run(sql: Sql) -> str:
    return str(one(sql, "SELECT run_id FROM runs WHERE method = 'dsirm'"))


def warmed(page: AppTest) -> AppTest:
    """The page once the model has been loaded."""
    for _ in range(120):
        if not any("The model is being loaded" in str(getattr(p.proto, "text", "")) for p in page.get("progress")):
            return page
        time.sleep(1)
        page.run()
    raise AssertionError("the model was not loaded in two minutes")


def frame_with(page: AppTest, column: str) -> Any:
    return next(f.value for f in page.dataframe if column in f.value.columns)


RANKED = """
    WITH weighed AS (SELECT query_id, greatest(coalesce(frequency, 0), 0) AS weight FROM queries),
    placed AS (
        SELECT s.query_id, s.item_id, w.weight, i.seller, row_number() OVER (
            PARTITION BY s.query_id ORDER BY s.score + CASE WHEN i.seller = ? THEN ? ELSE 0 END DESC, s.first_stage_rank) AS place,
            s.rank
        FROM scores s JOIN weighed w USING (query_id) JOIN items i USING (item_id) WHERE s.run_id = ? AND s.retrieved AND w.weight > 0)
"""


def shares(sql: Sql, run: str, seller: str, bonus: float) -> tuple[float, float]:
    """Exposure share of a seller, as stored and with a bonus: re-ranked in SQL."""
    [(before, after, whole)] = sql(
        RANKED + "SELECT sum(weight / log2(1 + rank)) FILTER (seller = ?), sum(weight / log2(1 + place)) FILTER (seller = ?), sum(weight / log2(1 + rank)) FROM placed",
        seller, bonus, run, seller, seller,
    )  # fmt: skip
    return before / whole, after / whole


@pytest.fixture
def seller(sql: Sql, run: str) -> str:
    """A seller of the middle of the field."""
    return str(
        one(
            sql,
            "SELECT \"value\" FROM exposure WHERE run_id = ? AND discount = 'log2' AND dimension = 'seller' AND n_queries > 5 ORDER BY share DESC LIMIT 1 OFFSET 4",
            run,
        )
    )


def test_a_bonus_moves_what_sql_says(true_page: Page, sql: Sql, run: str, seller: str) -> None:
    page = true_page("what_if", **{"try": "Policy", "of_seller": seller, "bonus": "0.3"})
    assert not page.exception
    assert not page.error
    before, after = shares(sql, run, seller, 0.3)
    assert before == pytest.approx(one(sql, 'SELECT share FROM exposure WHERE run_id = ? AND discount = \'log2\' AND dimension = \'seller\' AND "value" = ?', run, seller))  # fmt: skip
    line = find(
        page,
        rf"^\+0\.30 on every score of “{re.escape(seller)}”: its share of exposure goes from ([\d.]+) % to ([\d.]+) % \(([-+\d.]+) pp",
    )
    assert [float(g) for g in line.groups()] == pytest.approx(
        [100 * before, 100 * after, 100 * (after - before)], abs=0.0051
    )
    changed, asked = sql(
        RANKED + "SELECT count(DISTINCT query_id) FILTER (place <> rank AND least(place, rank) <= 10), count(DISTINCT query_id) FROM placed", seller, 0.3, run
    )[0]  # fmt: skip
    assert find(page, rf"the first 10 of {changed:,} of {asked:,} queries with traffic change")
    moved = frame_with(page, "points")
    own = moved[moved["value"] == seller].iloc[0]
    assert [own["before"], own["after"]] == pytest.approx([100 * before, 100 * after])
    assert moved["before"].sum() == pytest.approx(100)
    assert moved["after"].sum() == pytest.approx(100)
    assert moved["points"].abs().is_monotonic_decreasing
    n = (moved["points"].abs() > 1e-10).sum()
    assert find(page, rf"^the {min(12, n)} that move most of {n} sellers whose exposure moves")


def ndcg(rows: list[tuple[float, float]]) -> float:
    """nDCG@10 of (score, grade), equal scores sharing their mean gain; worked in plain Python."""
    gains = [(s, 2**g - 1) for s, g in rows]
    ideal = sum(g / math.log2(i + 2) for i, g in enumerate(sorted((g for _, g in gains), reverse=True)[:10]))
    if ideal == 0:
        return float("nan")
    by_score: dict[float, list[float]] = {}
    for s, g in gains:
        by_score.setdefault(s, []).append(g)
    order = [sum(of) / len(of) for s, of in sorted(by_score.items(), reverse=True) for _ in of]
    return sum(g / math.log2(i + 2) for i, g in enumerate(order[:10])) / ideal


def test_the_price_is_that_of_the_judged_test_queries(true_page: Page, sql: Sql, run: str, seller: str) -> None:
    page = true_page("what_if", **{"try": "Policy", "of_seller": seller, "bonus": "0.3"})
    stored = dict(sql("SELECT query_id, value FROM query_metrics WHERE run_id = ? AND metric = 'ndcg@10'", run))
    rows = sql(
        """
        SELECT s.query_id, s.score, s.score + CASE WHEN i.seller = ? THEN 0.3 ELSE 0 END, j.grade
        FROM scores s JOIN (SELECT query_id, item_id, avg(grade) AS grade FROM judgments GROUP BY ALL) j USING (query_id, item_id)
        JOIN items i USING (item_id) JOIN query_metrics m ON m.run_id = s.run_id AND m.query_id = s.query_id AND m.metric = 'ndcg@10'
        WHERE s.run_id = ?
        """,
        seller, run,
    )  # fmt: skip
    old: dict[str, list[tuple[float, float]]] = {}
    new: dict[str, list[tuple[float, float]]] = {}
    for query, score, policy, grade in rows:
        old.setdefault(query, []).append((score, grade))
        new.setdefault(query, []).append((policy, grade))
    for query, value in stored.items():
        assert ndcg(old[query]) == pytest.approx(value, abs=1e-9)
    before = np.mean([ndcg(old[q]) for q in stored])
    difference = np.array([ndcg(new[q]) - ndcg(old[q]) for q in stored])
    metric = next(m for m in page.metric if m.label.startswith("nDCG"))
    if len(stored) < 30:
        assert metric.value == "n too small"
        return
    assert metric.value == f"{before + difference.mean():.4f}"
    line = find(page, r"nDCG@10 changes by ([-+\d.]+) \(95 % interval \[([-+\d.]+), ([-+\d.]+)\]: ([^)]*)\)")
    value, low, high = (float(g) for g in line.groups()[:3])
    assert value == pytest.approx(difference.mean(), abs=5.1e-5)
    assert low <= value <= high
    says = {"judged items are ordered better": low > 0, "it costs relevance": high < 0}
    assert says.get(line.group(4), low <= 0 <= high)
    split = " and ".join(sorted({s for (s,) in sql("SELECT DISTINCT split FROM queries JOIN query_metrics USING (query_id) WHERE metric = 'ndcg@10' AND run_id = ?", run)}))  # fmt: skip
    asked = one(
        sql,
        "SELECT count(DISTINCT query_id) FROM scores JOIN queries USING (query_id) WHERE run_id = ? AND retrieved AND frequency > 0",
        run,
    )
    assert f"Stored rankings re-ordered; nothing is retrained and no query is asked again. Exposure is of {asked:,} of {asked:,} queries with traffic. nDCG@10 is of {len(stored):,} of {len(stored):,} judged queries (split: {split})." in told(page)  # fmt: skip
    worse = int((np.abs(difference) > 1e-12).sum())
    if worse:
        payers = frame_with(page, "open")
        assert len(payers) == min(worse, 200)
        assert payers["difference"].is_monotonic_increasing


def test_a_cap_leaves_no_more_than_it_says(true_page: Page, sql: Sql, run: str, seller: str) -> None:
    page = true_page("what_if", **{"try": "Policy", "of_seller": seller, "policy": "Cap in the first ten", "cap": "0"})
    assert not page.exception
    shown = next(m for m in page.metric if m.label.startswith("Of its items in the first"))
    assert shown.value == "0.000"
    before = one(
        sql,
        "SELECT sum(q.frequency) FILTER (i.seller = ? AND s.rank <= 10) / (SELECT sum(frequency) FROM queries WHERE frequency > 0 AND query_id IN (SELECT query_id FROM scores WHERE run_id = ?)) "
        "FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id) WHERE s.run_id = ? AND s.retrieved", seller, run, run,
    )  # fmt: skip
    assert find(page, rf"{before:.3f} as it is: -{before:.4f}")
    assert find(page, rf"^At most 0 of the first 10 places for “{re.escape(seller)}”")


def test_a_code_is_a_group_of_all_items_under_it(true_page: Page, sql: Sql, run: str) -> None:
    [(prefix, label, n)] = sql(
        "SELECT prefix, label, n_items FROM codes WHERE run_id = ? AND level = 1 ORDER BY n_items DESC LIMIT 1", run
    )
    page = true_page(
        "what_if", **{"try": "Policy", "group": "Codes", "of_code": f"{label or 'no name'} ({prefix})", "bonus": "0.5"}
    )
    assert not page.exception
    before = one(
        sql,
        "SELECT sum(q.frequency / log2(1 + s.rank)) FILTER (d.code_1 = ?) / sum(q.frequency / log2(1 + s.rank)) FROM scores s JOIN queries q USING (query_id) "
        "JOIN sids d USING (run_id, item_id) WHERE s.run_id = ? AND s.retrieved", int(prefix), run,
    )  # fmt: skip
    line = find(page, r"its share of exposure goes from ([\d.]+) %")
    assert float(line.group(1)) == pytest.approx(100 * before, abs=0.0051)
    assert n > 0


def test_nothing_is_said_before_a_group_is_chosen_and_a_stale_link_is_named(true_page: Page) -> None:
    page = true_page("what_if", **{"try": "Policy"})
    assert not page.exception
    assert any("Choose whom the policy is for" in i.value for i in page.info)
    assert not page.metric
    stale = true_page("what_if", **{"try": "Policy", "of_seller": "Nobody Ltd"})
    assert not stale.exception
    assert any("Nobody Ltd" in w.value for w in stale.warning)


@pytest.fixture
def pair(sql: Sql, run: str) -> tuple[str, str, str, str]:
    """query id, text, item, title of a third place whose title lacks a word of the query."""
    return sql(  # type: ignore[return-value]
        """
        SELECT q.query_id, q.text, s.item_id, i.title FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id)
        WHERE s.run_id = ? AND s.rank = 3 AND s.qs_coverage < 1 AND len(string_split(q.text, ' ')) BETWEEN 2 AND 4
          AND (SELECT count(*) FROM queries o WHERE lower(o.text) = lower(q.text)) = 1
        ORDER BY q.frequency DESC, q.query_id LIMIT 1
        """,
        run,
    )[0]


def test_a_listing_as_it_is_changes_nothing(true_page: Page, pair: tuple[str, str, str, str]) -> None:
    page = warmed(true_page("what_if", q=pair[0], item=pair[2]))
    assert not page.exception
    assert any("This is the listing as it is" in i.value for i in page.info)
    assert not page.metric


def test_a_listing_written_otherwise_is_told_as_the_run_answers(
    true_page: Page, true_workspace: Path, sql: Sql, run: str, pair: tuple[str, str, str, str]
) -> None:
    query, text, item, title = pair
    new = f"{text} {title}"
    page = warmed(true_page("what_if", q=query, item=item, title=new))
    assert not page.exception
    assert not page.error
    attributes = one(sql, "SELECT attributes FROM items WHERE item_id = ?", item)
    made = LiveRun.load(true_workspace, run).edited(text, item, new, attributes)
    before, after = (s[s["item_id"] == item].iloc[0] for s in (made.before.scores, made.after.scores))  # type: ignore[index]
    assert one(sql, "SELECT sid FROM sids WHERE run_id = ? AND item_id = ?", run, item) == made.sid
    assert (
        one(sql, "SELECT rank FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?", run, query, item)
        == before["rank"]
    )
    line = find(
        page,
        r"^Its SID (stays|changes)(.*?)\. For this query rank (\d+) becomes (?:rank (\d+)|not retrieved).*its score changes by ([-+\d.]+)\.",
    )
    old, now = made.sid.split("-"), made.new_sid.split("-")
    kept = [a == b for a, b in zip(old, now, strict=True)]
    if all(kept):
        assert line.group(1, 2) == ("stays", f" {made.sid}")
    else:
        level = kept.index(False) + 1
        where = "from the first code on" if level == 1 else f"from level {level} on"
        others = one(
            sql, "SELECT count(*) FROM sids WHERE run_id = ? AND sid = ? AND item_id <> ?", run, made.new_sid, item
        )
        holds = "no other item holds" if not others else f"{others} other item{' holds' if others == 1 else 's hold'}"
        assert line.group(2) == f" {where}, from {made.sid} to {made.new_sid}, which {holds}"
    assert int(line.group(3)) == before["rank"]
    assert int(line.group(4)) == after["rank"]
    assert float(line.group(5)) == pytest.approx(after["score"] - before["score"], abs=5.1e-4)
    assert f"Rank written so: {after['rank']}" in told(page)
    assert f"Score written so: {after['score']:.3f}" in told(page)
    assert f"Place before ranking: {after['first_stage_rank']}" in told(page)
    codes = frame_with(page, "verdict")
    assert codes["verdict"].tolist() == ["same" if old[: i + 1] == now[: i + 1] else "changed" for i in range(len(old))]
    parts = frame_with(page, "difference")
    points = [p["score"].iloc[0] for p in (made.before.reference_points, made.after.reference_points)]  # type: ignore[index]
    assert parts["before"].sum() == pytest.approx(before["score"] - points[0], abs=1e-6)
    assert parts["after"].sum() == pytest.approx(after["score"] - points[1], abs=1e-6)


def test_the_one_word_that_helps_most_is_the_best_of_those_tried(
    true_page: Page, pair: tuple[str, str, str, str]
) -> None:
    page = warmed(true_page("what_if", q=pair[0], item=pair[2], words="true"))
    assert not page.exception
    tried = frame_with(page, "word")
    best = tried.iloc[0]
    assert best["score"] == tried["score"].max()
    if best["difference"] > 0:
        line = find(
            page,
            r"^“(.*?)” at the end of the title helps most: rank (\d+), score ([-+\d.]+) against the listing as it is \(rank (\d+)\)",
        )
        assert line.group(1) == best["word"]
        assert int(line.group(2)) == best["rank"]
        assert line.group(4) == "3"
    else:
        assert find(
            page,
            rf"^None of them helps: the best, “{re.escape(best['word'])}”, changes the score by {best['difference']:+.3f}",
        )


def test_bulk_says_what_its_rows_say(true_page: Page, sql: Sql, run: str) -> None:
    category = one(
        sql, "SELECT category FROM items WHERE category IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    )
    page = true_page("what_if", **{"try": "Listings in bulk", "in_category": category, "n": "40"})
    ranked = one(
        sql,
        "SELECT count(DISTINCT item_id) FROM scores JOIN items USING (item_id) WHERE run_id = ? AND retrieved AND category = ?",
        run,
        category,
    )
    total = one(sql, "SELECT count(*) FROM items WHERE category = ?", category)
    n = min(ranked, 40)
    assert find(page, rf"^{n} of {ranked:,} items that some stored query ranks \({total:,} in all\)")
    assert not page.markdown or not any("the SID changes in" in m.value for m in page.markdown), "nothing runs unasked"
    page = warmed(
        true_page("what_if", **{"try": "Listings in bulk", "in_category": category, "n": "40", "bulk": "true"})
    )
    assert not page.exception
    assert not page.error
    rows = frame_with(page, "new_title")
    for kind, words in (
        ("typo", "A typing error"),
        ("stuffing", "Three frequent words appended"),
        ("reorder", "Words in another order"),
    ):
        of = rows[rows["kind"] == words]
        if len(of) < 30:
            assert find(page, rf"^{words} \({len(of)} titles\): n too small for a rate"), kind
            continue
        line = find(
            page,
            rf"^{words} \((\d+) titles\): the SID changes in ([\d.]+) % .*? first code in ([\d.]+) % .*?falls by ([-+\d.]+) on average .*?\((\d+) that stay",
        )
        stay = of[of["new_rank"].notna()]
        assert [float(g) for g in line.groups()] == pytest.approx(
            [
                len(of), 100 * (of["sid"] != of["new_sid"]).mean(), 100 * (of["flipped"] == 1).mean(),
                (stay["new_rank"] - stay["rank"]).mean(), len(stay),
            ], abs=0.051,
        )  # fmt: skip
        page_one = of[of["rank"] <= 10]
        left = int((~(page_one["new_rank"] <= 10)).sum())
        if len(page_one) >= 30:
            assert find(page, rf"Of {len(page_one)} on page one, {100 * left / len(page_one):.1f} % leave it")
    for row in rows.head(10).to_dict("records"):
        stored = one(
            sql,
            "SELECT rank FROM scores WHERE run_id = ? AND query_id = ? AND item_id = ?",
            run,
            row["query_id"],
            row["item_id"],
        )
        assert row["rank"] == stored
        assert row["sid"] == one(sql, "SELECT sid FROM sids WHERE run_id = ? AND item_id = ?", run, row["item_id"])
        assert row["title"] == one(sql, "SELECT title FROM items WHERE item_id = ?", row["item_id"])


def test_attributes_can_be_changed(true_page: Page, sql: Sql, pair: tuple[str, str, str, str]) -> None:
    attributes = json.loads(one(sql, "SELECT attributes FROM items WHERE item_id = ?", pair[2]))
    name = next(iter(attributes))
    page = warmed(true_page("what_if", q=pair[0], item=pair[2], attribute=name, becomes=pair[1]))
    assert not page.exception
    assert find(page, r"^Its SID stays"), "SIDs read titles alone"
    asked = next(t for t in page.text_input if t.key == "becomes")
    assert f"It reads “{attributes[name]}”" in asked.label
