"""Every sentence and count of Coverage, held against SQL on the tables that they speak of."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from told import find, plain, told

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def run(sql: Sql) -> str:
    [(name,)] = sql("SELECT default_run FROM snapshot")
    return str(name)


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def counts(sql: Sql, run: str, where: str = "true", *values: Any) -> dict[str, int]:
    """How far items come, item by item."""
    names = ("n", "sid", "beam", "top", "any", "own")
    row = sql(
        f"""
        SELECT count(*), count(s.sid), count(*) FILTER (b), count(*) FILTER (b AND r <= 10), count(*) FILTER (r <= 10),
               count(*) FILTER (s.sid IN (SELECT sid FROM sids WHERE run_id = ? GROUP BY sid HAVING count(*) = 1))
        FROM (
            SELECT i.*, (SELECT min(rank) FROM scores x WHERE x.run_id = ? AND x.item_id = i.item_id) AS r FROM items i
        ) i LEFT JOIN sids s ON s.run_id = ? AND s.item_id = i.item_id,
        LATERAL (SELECT s.sid IN (SELECT sid FROM beams WHERE run_id = ?) AS b)
        WHERE i.category IS NOT NULL AND {where}
        """,
        run, run, run, run, *values,
    )[0]  # fmt: skip
    return dict(zip(names, row, strict=True))


def said(n: dict[str, int], of: str) -> str:
    return (
        f"Of {n['n']:,} items{of}, {n['sid']:,} have a SID, {n['beam']:,} ({share(n['beam'], n['n'])}) are in a beam of some query and "
        f"{n['top']:,} of these ({share(n['top'], n['n'])} of all) are in the top 10 of some query. In a top 10 by a beam or not: "
        f"{n['any']:,}. {n['own']:,} hold their SID alone ({share(n['own'], n['n'])}); sharing one with alike items is no loss."
    )


def test_the_funnel_in_words(true_page: Page, sql: Sql, run: str) -> None:
    assert said(counts(sql, run), "") in told(true_page("coverage"))
    [(seller,)] = sql("SELECT seller FROM items WHERE seller IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")
    page = true_page("coverage", of_seller=seller, tier="tail")
    mine = counts(sql, run, "seller = ? AND tier = 'tail'", seller)
    if mine["n"]:
        assert said(mine, f" of seller {seller} in tail categories") in told(page)
    rows = next(f.value for f in page.dataframe if "n_all" in f.value.columns)
    assert rows["n_items"].sum() == mine["n"]
    assert dict(zip(rows["category"], rows["n_all"], strict=True)) == dict(
        sql("SELECT category, count(*) FROM items WHERE category IN (SELECT category FROM items WHERE seller = ? AND tier = 'tail') GROUP BY 1", seller)
    )  # fmt: skip
    find(page, rf"^{len(rows):,} categories, counting the filtered items; lifts and verdicts are of whole categories")


def test_the_funnel_by_an_attribute(true_page: Page, sql: Sql, run: str) -> None:
    [(key, value)] = sql(
        """
        SELECT e.key, e.value->>'$' AS stated FROM items, json_each(attributes) e WHERE e.type = 'VARCHAR'
        GROUP BY ALL HAVING count(*) >= 5 AND e.key = 'color' ORDER BY count(*) DESC, stated LIMIT 1
        """
    )
    mine = counts(sql, run, "(attributes->>'color') = ?", value)
    assert said(mine, f" of {key} {value}") in told(true_page("coverage", of_attribute=key, of_value=value))


def test_tiers_are_counted_as_their_rows_and_judged_by_their_own_lift(true_page: Page, sql: Sql, run: str) -> None:
    page = true_page("coverage")
    tiers = next(f.value for f in page.dataframe if "too_small" in f.value.columns).set_index("tier")
    stored = sql(
        """
        SELECT tier, count(*), sum(n_items)::BIGINT, count(*) FILTER (protected = 'yes'), count(*) FILTER (protected = 'no'),
               count(*) FILTER (protected = 'n too small') FROM coverage WHERE run_id = ? GROUP BY tier
        """,
        run,
    )
    columns = ["n_categories", "n_items", "protected", "unprotected", "too_small"]
    assert {tier: tuple(tiers.loc[tier, columns]) for tier, *_ in stored} == {tier: tuple(row) for tier, *row in stored}
    whole = counts(sql, run)
    for tier, n, items, *_ in stored:
        mine = counts(sql, run, "tier = ?", tier)
        for name, step in (("has_sid", "sid"), ("in_beam", "beam"), ("in_top_k", "top"), ("unshared", "own")):
            assert tiers.loc[tier, name] == mine[step], (tier, name)
        assert f"{n:,} {'category' if n == 1 else 'categories'}, {items:,} items" in told(page)
        [(difference, low, high, asked)] = sql(
            """
            SELECT difference, low, high, n FROM comparisons JOIN runs USING (run_id, ranker, baseline)
            WHERE run_id = ? AND metric = 'auc' AND segment = ?
            """,
            run, f"category_tier={tier}",
        )  # fmt: skip
        badge = next(
            m.value for m in page.markdown if m.value.startswith(":") and "badge" in m.value and _under(page, m, tier)
        )
        if asked < 30:
            assert "n too small" in badge
            find(page, rf"^{asked} test queries, 30 needed\.$")
            continue
        told_of = find(page, rf"\({asked:,} test queries\)\.$").string
        assert f"{100 * difference:+.1f} pp [{100 * low:+.1f}, {100 * high:+.1f}]" in told_of
        assert (
            f"{mine['beam'] / mine['sid']:.0%} of its items are in some beam (catalogue {whole['beam'] / whole['sid']:.0%})"
            in told_of
        )
        lost = high < 0 or mine["beam"] / mine["sid"] < 0.5 * whole["beam"] / whole["sid"]
        assert ("not protected" in badge) == lost
        assert ("n too small" in badge) == (not lost and low < -0.02)


def _under(page: AppTest, badge: Any, tier: str) -> bool:
    """Whether a badge stands beside a tier's name."""
    values = [m.value for m in page.markdown]
    return values[values.index(f"**{tier.capitalize()}**") + 1] == badge.value


def test_lifts_are_counted_by_whose_they_are(true_page: Page, sql: Sql, run: str) -> None:
    page = true_page("coverage")
    [(own, few, every, departments)] = sql(
        """
        SELECT count(auc_lift), count(*) FILTER (auc_lift IS NULL), count(*),
               count(DISTINCT g.department) FILTER (auc_lift IS NULL AND pooled_lift IS NOT NULL)
        FROM coverage JOIN categories g USING (category) WHERE run_id = ?
        """,
        run,
    )
    if not own + departments:
        find(page, "Neither a category nor a department has enough test queries")
        return
    line = find(
        page,
        r"^worst (\d+) of (\d+) lifts: (\d+) categor(?:y|ies) by (?:their own|its own) test quer.*, (\d+) departments?; (\d+) of (\d+)",
    )
    assert [int(n) for n in line.groups()] == [
        min(16, own + departments),
        own + departments,
        own,
        departments,
        few,
        every,
    ]


def auc(sql: Sql, run: str, column: str, where: str, value: str) -> float:
    """Chance that a relevant judged pair of some test queries scores above another, ties half: pair by pair."""
    [(chance,)] = sql(
        f"""
        WITH judged AS (
            SELECT s.{column} AS score, j.grade >= n.relevant_grade AS relevant
            FROM judgments j JOIN scores s ON s.run_id = ? AND s.query_id = j.query_id AND s.item_id = j.item_id
            JOIN queries q ON q.query_id = j.query_id LEFT JOIN categories c ON c.category = q.category CROSS JOIN snapshot n
            WHERE q.split = 'test' AND {where} = ? AND s.score_without_sid IS NOT NULL
        )
        SELECT avg(CASE WHEN a.score > b.score THEN 1.0 WHEN a.score = b.score THEN 0.5 ELSE 0 END)
        FROM judged a, judged b WHERE a.relevant AND NOT b.relevant
        """,
        run, value,
    )  # fmt: skip
    return float("nan") if chance is None else float(chance)


def asked(sql: Sql, run: str, where: str, value: str) -> int:
    """Judged test queries of a category or department whose pairs have both scores."""
    [(n,)] = sql(
        f"""
        SELECT count(DISTINCT j.query_id) FROM judgments j JOIN queries q USING (query_id)
        JOIN scores s ON s.run_id = ? AND s.query_id = j.query_id AND s.item_id = j.item_id
        LEFT JOIN categories c ON c.category = q.category
        WHERE q.split = 'test' AND {where} = ? AND s.score_without_sid IS NOT NULL
        """,
        run, value,
    )  # fmt: skip
    return int(n)


def some_categories(sql: Sql, run: str) -> list[str]:
    """One category of each verdict and of each kind of lift."""
    rows = sql(
        "SELECT arg_max(category, (n_items, category)) FROM coverage WHERE run_id = ? GROUP BY protected, auc_lift IS NULL, pooled_lift IS NULL", run
    )  # fmt: skip
    return [str(name) for (name,) in rows]


def test_a_lift_is_the_categorys_own_or_said_to_be_its_departments(true_page: Page, sql: Sql, run: str) -> None:
    for category in some_categories(sql, run):
        page = true_page("coverage", category=category)
        [(department,)] = sql("SELECT department FROM categories WHERE category = ?", category)
        n, pooled = asked(sql, run, "q.category", category), asked(sql, run, "c.department", department)
        own = find(
            page,
            r"^AUC lift of this category: (.*), (\d+) test (?:query|queries) of its own\.$|^AUC lift of this category: n too small \((\d+) test",
        ).groups()
        assert n == int(own[1] or own[2])
        assert (own[0] is None) == (n < 8)
        for told_lift, where, value in ((own[0], "q.category", category), (_pooled(page), "c.department", department)):
            if told_lift:
                lift = auc(sql, run, "score", where, value) - auc(sql, run, "score_without_sid", where, value)
                assert told_lift.startswith(f"{100 * lift:+.2f} pp ["), (category, told_lift)
        assert (_pooled(page) is None) == (pooled < 8)
        if pooled >= 8:
            find(
                page,
                rf"^:gray\[Pooled over {re.escape(department)}: .* pp, {pooled} test queries; this is the department's, not the category's\.\]$",
            )
        [(verdict,)] = sql("SELECT protected FROM coverage WHERE run_id = ? AND category = ?", run, category)
        name = {"yes": "protected", "no": "not protected"}.get(verdict, verdict)
        by = ", judged by its department" if n < 8 <= pooled else ""
        find(page, rf"-badge\[(?:.* )?{name}{by}\]$")


def _pooled(page: AppTest) -> str | None:
    lines = [line for line in told(page) if line.startswith(":gray[Pooled over")]
    return lines[0].partition(": ")[2] if lines else None


def moves(sql: Sql, run: str, category: str) -> dict[str, float]:
    """Change of each ranked item's exposure, summed in Python."""
    total, out = 0.0, {}
    for item, mine, weight, rank, without in sql(
        """
        SELECT s.item_id, i.category IS NOT DISTINCT FROM ?, q.frequency, s.rank, s.rank_without_sid
        FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id)
        WHERE s.run_id = ? AND q.frequency > 0 AND s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL
        """,
        category, run,
    ):  # fmt: skip
        total += weight / math.log2(1 + rank)
        if mine:
            out[item] = out.get(item, 0.0) + weight * (1 / math.log2(1 + rank) - 1 / math.log2(1 + without))
    return {item: change / total for item, change in out.items()}


def test_who_slipped_is_counted_and_named(true_page: Page, sql: Sql, run: str) -> None:
    for category in some_categories(sql, run)[:2]:
        page = true_page("coverage", category=category)
        change = moves(sql, run, category)
        fell = sorted((c, item) for item, c in change.items() if c < -5e-13)
        rose = sum(c > 5e-13 for c in change.values())
        line = find(
            page,
            r"^Of its (\d[\d,]*) ranked items?, ([\d,]+) (?:is|are) seen less with SIDs, ([\d,]+) more(?:, ([\d,]+) as before)?\.(.*)$",
        )
        n = [int((g or "0").replace(",", "")) for g in line.groups()[:4]]
        assert n == [len(change), len(fell), rose, len(change) - len(fell) - rose]
        rows = next(f.value for f in page.dataframe if "points" in f.value.columns)
        assert list(rows["change"].dropna()) == pytest.approx(sorted(change.values()), abs=1e-11)
        assert len(rows) == sql("SELECT count(*) FROM items WHERE category = ?", category)[0][0]
        for (_, item), (_, row) in zip(fell[:3], rows.iterrows(), strict=False):
            [(title, query, rank, without)] = sql(
                """
                SELECT i.title, q.text, s.rank, s.rank_without_sid FROM scores s JOIN items i USING (item_id) JOIN queries q USING (query_id)
                WHERE s.run_id = ? AND item_id = ? AND q.frequency > 0 AND s.rank > s.rank_without_sid
                ORDER BY q.frequency * (1 / log2(1 + s.rank) - 1 / log2(1 + s.rank_without_sid)), query_id LIMIT 1
                """,
                run, row["item_id"],
            )  # fmt: skip
            assert change[row["item_id"]] == pytest.approx(change[item], abs=1e-11)
            assert f"{without} → {rank} for “{' '.join(query.split())[:59].rstrip()}" in line[5]
            assert f"“{' '.join(title.split())[:59].rstrip()}" in line[5]


def test_judged_relevant_items_are_followed(true_page: Page, sql: Sql, run: str) -> None:
    [(category,)] = sql(
        "SELECT q.category FROM judgments j JOIN queries q USING (query_id), snapshot n WHERE q.split = 'test' AND grade >= relevant_grade "
        "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    )
    rows = sql(
        """
        SELECT s.rank, s.rank_without_sid FROM judgments j JOIN queries q USING (query_id) CROSS JOIN snapshot n
        LEFT JOIN scores s ON s.run_id = ? AND s.query_id = j.query_id AND s.item_id = j.item_id
        WHERE q.split = 'test' AND q.category = ? AND j.grade >= n.relevant_grade
        """,
        run, category,
    )  # fmt: skip
    both = [(a, b) for a, b in rows if a is not None and b is not None]
    fell, rose = sum(a > b for a, b in both), sum(a < b for a, b in both)
    many = f"{len(rows):,} pair{'' if len(rows) == 1 else 's'}"
    assert (
        f"Judged relevant for its own test queries: {many} of a query and an item; {fell:,} fell, {rose:,} rose, "
        f"{len(both) - fell - rose:,} stayed, {len(rows) - len(both):,} were not retrieved."
    ) in told(true_page("coverage", category=category))


def test_queries_without_an_agreeing_beam_are_counted_as_their_rows(true_page: Page, sql: Sql, run: str) -> None:
    [category] = some_categories(sql, run)[:1]
    page = true_page("coverage", category=category, show="Queries that should reach it")
    wanted = sql(
        """
        SELECT query_id, coalesce(max(level), 0) FROM (
            SELECT q.query_id FROM queries q WHERE q.category = $c
            UNION SELECT j.query_id FROM judgments j JOIN items i USING (item_id), snapshot n WHERE i.category = $c AND j.grade >= n.relevant_grade
        ) w LEFT JOIN (
            SELECT s.query_id, s.match_level AS level, j.item_id IS NOT NULL AS relevant,
                   bool_or(j.item_id IS NOT NULL) OVER (PARTITION BY s.query_id) AS judged
            FROM scores s JOIN items i USING (item_id) LEFT JOIN (
                SELECT query_id, item_id FROM judgments, snapshot WHERE grade >= relevant_grade
            ) j ON j.query_id = s.query_id AND j.item_id = s.item_id WHERE s.run_id = $r AND i.category = $c
        ) s USING (query_id) WHERE s.level IS NULL OR s.relevant OR NOT s.judged GROUP BY query_id
        """.replace("$c", f"'{category.replace(chr(39), chr(39) * 2)}'").replace("$r", f"'{run}'")
    )
    missed = sum(level == 0 for _, level in wanted)
    find(page, rf"^{missed:,} of {len(wanted):,} queries have no beam that agrees with any of these items\.$")


def test_how_evenly_codes_are_used(true_page: Page, sql: Sql, run: str) -> None:
    page = true_page("coverage")
    for level, sizes in sql(
        "SELECT level, list(n_items ORDER BY n_items DESC) FROM codes WHERE run_id = ? GROUP BY level ORDER BY level",
        run,
    ):
        n = max(1, round(len(sizes) / 10))
        find(
            page,
            rf"(?i)level {level}: the fullest {n:,} of {len(sizes):,} codes hold {100 * sum(sizes[:n]) / sum(sizes):.0f} % of the items",
        )


def test_a_category_is_found_by_its_own_name(true_page: Page, sql: Sql, run: str) -> None:
    [(category, name)] = sql(
        "SELECT any_value(category), name FROM categories GROUP BY name HAVING count(*) = 1 ORDER BY sum(n_items) DESC, name LIMIT 1"
    )
    page = true_page("coverage", category=name.upper())
    assert category in [plain(h.value) for h in page.header]
    page = true_page("coverage", category=f"{name}z")
    assert any(plain(b.label) in (name, category) for b in page.button)


def test_categories_that_are_not_protected_stand_first(true_page: Page, sql: Sql) -> None:
    page = true_page("coverage")
    [shown] = [t.value for t in page.dataframe if {"category", "protected", "n_queries"} <= set(t.value.columns)][:1]
    open_ = sql(
        "SELECT category FROM coverage WHERE protected = 'no' AND run_id = (SELECT run_id FROM runs WHERE method = 'dsirm') "
        "ORDER BY n_items DESC, category"
    )
    assert list(shown["category"].head(len(open_))) == [category for (category,) in open_]
