"""Every sentence and count of the Query page, held against SQL on a marketplace that was really trained."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from told import find, told

from app import text
from app.components import live
from app.queries import query_log

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]
LEDGER = "Where relevant items are lost"
LOST = "Where was it lost?"


@pytest.fixture
def true_page(open_page: Page, true_workspace: Path) -> Page:
    """The Query page of the true workspace; `view` is a parameter of its address."""
    return lambda **params: open_page("query", true_workspace, **params)


@pytest.fixture(scope="session")
def run(sql: Sql) -> str:
    return str(sql("SELECT default_run FROM snapshot")[0][0])


@pytest.fixture(scope="session")
def some(sql: Sql, run: str) -> list[str]:
    """Queries of each kind that the page tells apart: frequent, judged without traffic, unsure, worst regression, unjudged."""
    found = [
        sql("SELECT query_id FROM queries WHERE query_id IN (SELECT query_id FROM scores) ORDER BY frequency DESC, query_id LIMIT 1"),
        sql("SELECT query_id FROM queries WHERE frequency = 0 AND split = 'test' ORDER BY query_id LIMIT 1"),
        sql("SELECT query_id FROM beams WHERE run_id = ? AND query_id IN (SELECT query_id FROM scores) GROUP BY 1 ORDER BY sum(exp(log_prob)), 1 LIMIT 1", run),
        sql("SELECT query_id FROM query_metrics WHERE run_id = ? AND metric = 'ndcg@10' ORDER BY difference, 1 LIMIT 1", run),
        sql("SELECT query_id FROM queries WHERE n_judged = 0 AND query_id IN (SELECT query_id FROM scores) ORDER BY 1 LIMIT 1"),
    ]  # fmt: skip
    return list(dict.fromkeys(str(rows[0][0]) for rows in found if rows))


def plural(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def test_the_log_counts_its_queries_and_their_searches(true_page: Page, sql: Sql, run: str) -> None:
    [(whole,)] = sql(
        "SELECT sum(frequency) FROM queries WHERE query_id IN (SELECT query_id FROM scores WHERE run_id = ?)", run
    )
    for tier in query_log.TIERS:
        condition = "frequency = 0" if tier == "no traffic" else f"frequency > 0 AND tier = '{tier}'"
        [(n, searches)] = sql(
            f"SELECT count(*), coalesce(sum(frequency), 0) FROM queries WHERE {condition} "
            "AND query_id IN (SELECT query_id FROM scores WHERE run_id = ?)",
            run,
        )
        page = true_page(tier=tier)
        assert not page.exception
        if not n:
            assert "No query of this run is like that." in " ".join(told(page))
            continue
        said = f"{plural(n, 'query', 'queries')}, asked {plural(int(searches), 'time', 'times')}: {100 * searches / whole:.1f} % of"
        assert any(line.startswith(said) for line in told(page)), (said, told(page))
        rows = page.dataframe[0].value
        assert len(rows) == min(n, 500)
        assert set(rows["tier"]) == {tier}
    assert not sql("SELECT 1 FROM queries WHERE frequency IS NULL")


def test_measures_of_the_log_are_the_run_s_own(true_page: Page, sql: Sql, run: str) -> None:
    rows = true_page(order="worst for traffic", judged="measured").dataframe[0].value
    known = {q: values for q, *values in sql(
        "SELECT query_id, value_without, value, difference, frequency FROM query_metrics JOIN queries USING (query_id) "
        "WHERE run_id = ? AND metric = 'ndcg@10'", run)}  # fmt: skip
    assert set(rows["query_id"]) <= set(known)
    traffic = sum(values[3] for values in known.values())
    for row in rows.head(50).to_dict("records"):
        without, value, difference, frequency = known[row["query_id"]]
        assert (row["value_without"], row["value"], row["difference"]) == pytest.approx((without, value, difference))
        assert row["direction"] == text.direction(difference)
        if frequency and traffic:
            assert row["weighted"] == pytest.approx(100 * difference * frequency / traffic)
        else:
            assert math.isnan(row["weighted"])


def test_what_is_known_of_a_query(true_page: Page, sql: Sql, some: list[str]) -> None:
    for query in some:
        [(words, frequency, tier, split, n_judged, seen)] = sql(
            "SELECT text, frequency, tier, split, n_judged, seen FROM queries WHERE query_id = ?", query
        )
        page = true_page(q=query)
        assert not page.exception
        lines = told(page)
        assert " ".join(words.split()) in lines
        facts = next(line for line in lines if f"id {query}" in line)
        if frequency:
            assert facts.startswith(f"{plural(int(frequency), 'search', 'searches')} · {tier} tier")
        else:
            assert facts.startswith("not in the search log, so without traffic · in no traffic tier")
            assert f"{tier} tier" not in facts.replace("traffic tier", "")
        assert f"split {split}" in facts
        assert ("its clicks were used in training" if seen else "new to the generator") in facts
        assert plural(n_judged, "judged item", "judged items") in facts


def test_the_reading_of_the_beams(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    for query in some:
        beams = sql(
            "SELECT sid, codes[1], exp(log_prob), n_items FROM beams WHERE run_id = ? AND query_id = ? ORDER BY rank",
            run,
            query,
        )
        held = sum(b[2] for b in beams)
        shares = [sum(b[2] for b in beams if b[1] == code) / held for code in {b[1] for b in beams}]
        bits = abs(-sum(s * math.log2(s) for s in shares))
        page = true_page(q=query)
        found = find(page, r"The generator bets most on (\S+).* with ([\d.]+) %; its (\d+) beams? start in (\d+) level-1 codes?, "
                           r"point at (\d+) items? and hold ([\d.]+) % of all probability: (.+) \(entropy over level-1 codes ([\d.]+) bits")  # fmt: skip
        assert found.groups()[:1] == (beams[0][0],)
        numbers = [float(found.group(i)) for i in (2, 3, 4, 5, 6, 8)]
        expected = [100 * beams[0][2], len(beams), len(shares), sum(b[3] for b in beams), 100 * held, bits]
        assert numbers == pytest.approx(expected, abs=0.051)
        sure = (
            "sure of one meaning"
            if bits < 0.5
            else "spread over several meanings"
            if bits > 1.5
            else "undecided between a few"
        )
        assert found.group(7) == sure
        warned = [line for line in told(page) if "does not know this query" in line]
        assert bool(warned) == (held < 0.2)


def test_what_falling_below_the_bar_has_meant(true_page: Page, sql: Sql, run: str) -> None:
    unsure = sql(
        "SELECT query_id FROM beams WHERE run_id = ? AND query_id IN (SELECT query_id FROM scores) GROUP BY 1 HAVING sum(exp(log_prob)) < 0.2 ORDER BY 1 LIMIT 1",
        run,
    )
    if not unsure:
        pytest.skip("the generator knows every query")
    reached = sql(
        """
        SELECT (SELECT sum(exp(log_prob)) FROM beams b WHERE b.run_id = $1 AND b.query_id = q.query_id) < 0.2 AS below,
               count(*), count(*) FILTER (EXISTS (
                   FROM judgments j JOIN sids s ON s.item_id = j.item_id AND s.run_id = $1
                   JOIN beams b ON b.run_id = $1 AND b.query_id = q.query_id AND b.sid = s.sid
                   WHERE j.query_id = q.query_id AND j.grade >= (SELECT relevant_grade FROM snapshot)))
        FROM queries q
        WHERE split = 'test' AND EXISTS (
            FROM judgments j WHERE j.query_id = q.query_id AND j.grade >= (SELECT relevant_grade FROM snapshot))
          AND query_id IN (SELECT query_id FROM beams WHERE run_id = $1)
        GROUP BY 1
        """,
        run,
    )
    counts = {below: (n, hits) for below, n, hits in reached}
    (n, hits), (m, more) = counts.get(True, (0, 0)), counts.get(False, (0, 0))
    below = text.TOO_SMALL if n < 30 else f"{100 * hits / n:.1f} %"
    above = text.TOO_SMALL if m < 30 else f"{100 * more / m:.1f} %"
    find(
        true_page(q=unsure[0][0]),
        rf"below the bar in {re.escape(below)} \(n = {n:,}\), of those above it in {re.escape(above)} \(n = {m:,}\)",
    )


def test_the_evidence_of_each_beam(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    for query in some:
        beams = sql("SELECT sid, n_items FROM beams WHERE run_id = ? AND query_id = ? ORDER BY rank", run, query)
        relevant = {
            item for (item,) in sql(
                "SELECT item_id FROM judgments WHERE query_id = ? GROUP BY 1 HAVING avg(grade) >= (SELECT relevant_grade FROM snapshot)",
                query,
            )
        }  # fmt: skip
        page = true_page(q=query, beam=beams[0][0])
        rows = next(f.value for f in page.dataframe if "learnt" in f.value.columns).set_index("sid")
        held = 0
        for sid, n_items in beams:
            under = sql(
                "SELECT item_id, title FROM sids JOIN items USING (item_id) WHERE run_id = ? AND sid = ?", run, sid
            )
            own = sum(item in relevant for item, _ in under)
            held += own
            assert rows.loc[sid, "n_items"] == n_items == len(under)
            assert rows.loc[sid, "n_relevant"] == own
            shown = rows.loc[sid, "titles"].split("  |  ")
            assert len(shown) == min(3, len(under))
            assert set(shown) <= {" ".join(title.split())[:200] for _, title in under}
            for like in filter(None, re.split(r"; (?:\d+ more)?", rows.loc[sid, "learnt"])):
                assert sql("SELECT 1 FROM queries WHERE split = 'train' AND starts_with(text, ?) LIMIT 1", like), like
        if relevant:
            n = plural(len(relevant), "item", "items")
            find(page, rf"^{held} of the {n} judged relevant to this query (is|are) under one of its beams")
        under = next(f.value for f in page.dataframe if list(f.value.columns)[:2] == ["item_id", "title"])
        assert len(under) == beams[0][1]
        find(page, rf"{plural(beams[0][1], 'item', 'items')} under {beams[0][0]}\.$")
        ranks = dict(sql("SELECT item_id, rank FROM scores WHERE run_id = ? AND query_id = ?", run, query))
        for row in under.to_dict("records"):
            rank = ranks.get(row["item_id"])
            assert row["rank"] == rank if rank is not None else math.isnan(row["rank"])


def test_unconstrained_beams_are_counted(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    for query in some[:2]:
        [(n, valid, same)] = sql(
            "SELECT count(*), count(*) FILTER (valid), count(*) FILTER (sid IN (SELECT sid FROM beams b WHERE b.run_id = f.run_id "
            "AND b.query_id = f.query_id)) FROM free_beams f WHERE run_id = ? AND query_id = ?",
            run, query,
        )  # fmt: skip
        find(
            true_page(q=query),
            rf"^{valid} of {n} unconstrained beams exist in the catalogue; {same} are the same",
        )


def brute_rbo(a: list[str], b: list[str], p: float = 0.9) -> float:
    """Of two orders of the same items: the definition, depth by depth."""
    n = len(a)
    agreed = sum(len(set(a[:d]) & set(b[:d])) / d * p**d for d in range(1, n + 1))
    return (1 - p) / p * agreed + p**n


def test_how_the_rankings_differ(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    for query in some:
        rows = sql(
            "SELECT item_id, rank, rank_without_sid, judged, retrieved FROM scores WHERE run_id = ? AND query_id = ?",
            run,
            query,
        )
        own = [r for r in rows if r[1] is not None]
        now, before = ([r[0] for r in sorted(own, key=lambda r: r[place])] for place in (1, 2))
        page = true_page(q=query, view="Ranking")
        assert not page.exception
        up, down = sum(r[1] < r[2] for r in own), sum(r[1] > r[2] for r in own)
        k = min(10, len(own))
        entered = len(set(now[:k]) - set(before[:k]))
        left = len(set(before[:k]) - set(now[:k]))
        find(
            page,
            rf"^With SIDs {up} of {plural(len(own), 'candidate', 'candidates')} move up, {down} down, {len(own) - up - down} stays?; "
            rf"{entered} enters? the first {k}, {left} leaves? it\.",
        )
        overlap = len(set(now[:k]) & set(before[:k])) / k
        find(page, rf"^Same items on page one \(overlap@{k}\): {100 * overlap:.1f} %")
        find(page, rf"^The lists alike \(RBO\): {brute_rbo(now, before):.3f}$")
        judged = {r[0] for r in rows if r[3]}
        find(page, rf"^Nobody judged, of the first {k} \(unjudged@{k}\): {len(set(now[:k]) - judged)}$")
        find(page, rf"^with SIDs; {len(set(before[:k]) - judged)} without$")
        lost = sum(not r[4] for r in rows)
        find(
            page,
            rf"^{len(rows):,} of {len(rows):,} scored items: {len(own):,} candidates and {plural(lost, 'judged item', 'judged items')} "
            rf"not retrieved; {len(judged):,} judged in all",
        )
        for metric, name in (
            ("ndcg@10", text.METRIC_NAMES["ndcg@10"]),
            ("within_query_auc", text.METRIC_NAMES["within_query_auc"]),
        ):
            for value, without, difference in sql(
                "SELECT value, value_without, difference FROM query_metrics WHERE run_id = ? AND query_id = ? AND metric = ?",
                run, query, metric,
            ):  # fmt: skip
                find(page, rf"^{re.escape(name)} with SIDs, this query alone: {value:.3f}$")
                find(
                    page,
                    rf"{without:.3f} without: {re.escape(f'{difference:+.3f}')}, {re.escape(text.direction(difference))}",
                )


def test_what_sids_add_is_what_is_stored(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    for query in some[:3]:
        stored = dict(
            sql(
                "SELECT item_id, sum(value) FROM contributions WHERE run_id = ? AND query_id = ? AND feature LIKE 'sid~_%' ESCAPE '~' "
                "GROUP BY 1",
                run, query,
            )
        )  # fmt: skip
        rows = true_page(q=query, view="Ranking").dataframe[0].value.set_index("item_id")
        levels = rows["levels"].map(sum)
        for item, value in stored.items():
            assert rows.loc[item, "sids"] == pytest.approx(value, abs=1e-5)
            assert levels[item] == pytest.approx(value, abs=1e-3)
        assert len(stored) >= 10


def test_kinds_of_move_and_facts_of_each_row(true_page: Page, sql: Sql, run: str, some: list[str]) -> None:
    rows = true_page(q=some[0], view="Ranking").dataframe[0].value
    known = {r[0]: r[1:] for r in sql(
        "SELECT s.item_id, s.rank, s.rank_without_sid, s.match_level, i.title, i.seller, i.category, i.price, "
        "(SELECT avg(grade) FROM judgments j WHERE j.query_id = s.query_id AND j.item_id = s.item_id) "
        "FROM scores s JOIN items i USING (item_id) WHERE s.run_id = ? AND s.query_id = ?", run, some[0])}  # fmt: skip
    for row in rows.to_dict("records"):
        rank, without, level, title, seller, category, price, grade = known[row["item_id"]]
        assert (row["title"], row["seller"], row["category"], row["price"]) == (title, seller, category, price)
        assert row["grade"] == grade or (grade is None and math.isnan(row["grade"]))
        assert row["dots"] == "●" * level + "○" * (len(row["dots"]) - level)
        if rank is None:
            assert row["kind"] == "not retrieved"
        elif (rank <= 10) != (without <= 10):
            assert row["kind"] == ("new on page one" if rank <= 10 else "gone from page one")
        else:
            assert row["kind"] == ("up" if rank < without else "down" if rank > without else "same")


def test_what_sids_did_to_a_target(true_page: Page, sql: Sql, run: str) -> None:
    targets = [
        sql("SELECT query_id, item_id, rank, rank_without_sid FROM loss_ledger WHERE run_id = ? AND verdict = ? ORDER BY query_id, item_id "
            "LIMIT 2", run, verdict)
        for verdict in ("found", "outranked", "lost in the beam", "not retrieved")
    ]  # fmt: skip
    for query, item, rank, without in [row for rows in targets for row in rows]:
        page = true_page(q=query, item=item, view=LOST)
        assert not page.exception
        if rank is None:
            assert not [line for line in told(page) if "without SIDs" in line]
            find(page, "A wider beam cannot help: the first stage did not retrieve it")
            continue
        where = {(True, True): "on page one either way", (True, False): "without SIDs it would be on page one",
                 (False, True): "SIDs bring it to page one", (False, False): "on page one neither way"}[(without <= 10, rank <= 10)]  # fmt: skip
        find(page, rf"^Rank {without} without SIDs, {rank} with them .*{where}\.")
        parts = dict(
            sql(
                "SELECT s.item_id, sum(c.value) FROM contributions c JOIN scores s USING (run_id, query_id, item_id) "
                "WHERE run_id = ? AND query_id = ? AND feature LIKE 'sid~_%' ESCAPE '~' AND (s.rank <= 10 OR item_id = ?) GROUP BY 1",
                run, query, item,
            )
        )  # fmt: skip
        others = [value for other, value in parts.items() if other != item]
        mean = sum(others) / len(others)
        gap = parts[item] - mean
        found = find(page, r"^SIDs add ([+-][\d.]+) to its score and ([+-][\d.]+) on average to .* \((\d+) items?\): against it they "
                           r"(gain|cost) it ([\d.]+)")  # fmt: skip
        assert [float(found.group(i)) for i in (1, 2, 3, 5)] == pytest.approx(
            [parts[item], mean, len(others), abs(gap)], abs=6e-4
        )
        assert found.group(4) == ("gain" if gap >= 0 else "cost") or abs(gap) < 1e-6


@pytest.mark.parametrize("by", ["query tier", "category tier", "category"])
def test_the_ledger_adds_up(true_page: Page, sql: Sql, run: str, by: str) -> None:
    rows = sql(
        "SELECT verdict, CASE WHEN frequency = 0 THEN 'no traffic' ELSE query_tier END, l.category_tier, l.category "
        "FROM loss_ledger l JOIN queries q USING (query_id) WHERE run_id = ?",
        run,
    )
    page = true_page(part=LEDGER, ledger=by)
    assert not page.exception
    total, found = len(rows), sum(r[0] == "found" for r in rows)
    line = find(
        page, r"^([\d,]+) of ([\d,]+) judged relevant items are on page one \(([\d.]+) %\)\. The others: (.*)\.$"
    )
    assert line.groups()[:3] == (f"{found:,}", f"{total:,}", f"{100 * found / total:.1f}")
    for verdict in {r[0] for r in rows} - {"found"}:
        n = sum(r[0] == verdict for r in rows)
        assert f"{n:,} {verdict} ({100 * n / total:.1f} %)" in line.group(4)
    column = {"query tier": 1, "category tier": 2, "category": 3}[by]
    table = page.dataframe[0].value
    assert table["n_pairs"].sum() == total
    counted = table.groupby(["verdict", "value"])["n_pairs"].sum().to_dict()
    expected: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row[0], row[column] or "(unknown)")
        expected[key] = expected.get(key, 0) + 1
    assert counted == expected
    (verdict, value), n = max(expected.items(), key=lambda cell: cell[1])
    opened = true_page(part=LEDGER, ledger=by, fate=text.sentence(verdict), group=value)
    queries = {(q, i) for q, i in opened.dataframe[1].value[["query_id", "item_id"]].itertuples(index=False)}
    assert len(queries) == len(opened.dataframe[1].value) == min(n, 1000)
    find(opened, rf"^{plural(n, 'judged relevant item', 'judged relevant items')} of [\d,]+ quer")


def test_sets_are_measured_over_their_own_queries(true_page: Page, sql: Sql, run: str) -> None:
    kinds = sql(
        "SELECT kind, count(*), avg(value_without), avg(value), avg(difference), sum(frequency) FROM query_metrics JOIN queries USING (query_id) "
        "WHERE run_id = ? AND metric = 'ndcg@10' AND kind IS NOT NULL GROUP BY 1 ORDER BY 1",
        run,
    )
    page = true_page(part="Query sets")
    assert not page.exception
    rows = page.dataframe[0].value.set_index("name")
    assert [f"kind: {kind}" for kind, *_ in kinds] == [name for name in rows.index if name.startswith("kind: ")]
    for kind, n, without, value, difference, searches in kinds:
        row = rows.loc[f"kind: {kind}"]
        assert (row["n"], row["searches"]) == (n, searches)
        if n < 30:
            assert row["interval"] == text.TOO_SMALL
            assert math.isnan(row["difference"])
            assert math.isnan(row["with"])
        else:
            assert (row["without"], row["with"], row["difference"]) == pytest.approx((without, value, difference))


def test_variants_are_compared_with_the_query_as_asked(
    true_page: Page, true_workspace: Path, run: str, some: list[str], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = live.Model(true_workspace, run)
    loaded.hurry()
    while loaded.state == "warming":
        time.sleep(0.2)
    monkeypatch.setattr(live, "model", lambda workspace, run_id: loaded)
    page = true_page(q=some[0], view="Variants")
    assert not page.exception
    assert not page.error
    (rows,) = (f.value for f in page.dataframe)
    assert rows["kind"].iloc[0] == "as asked"
    answers = [loaded.query(words) for words in rows["text"]]
    orders = [
        a.scores.dropna(subset=["rank"]).sort_values("rank")["item_id"].tolist()
        for a in answers
        if a.scores is not None
    ]
    for row, answer, order in zip(rows.to_dict("records"), answers, orders, strict=True):
        assert row["overlap"] == pytest.approx(len(set(orders[0][:10]) & set(order[:10])) / 10)
        assert row["best"] == answer.beams.sort_values("rank")["sid"].iloc[0]
        shared = len(set(answers[0].beams["sid"]) & set(answer.beams["sid"]))
        assert row["same_beams"] == f"{shared} of {len(answers[0].beams)}"
    changed = sum(best != rows["best"].iloc[0] for best in rows["best"])
    find(page, rf"^{changed} of {len(rows) - 1} change the beam that the generator bets most on")
