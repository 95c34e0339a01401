"""Every sentence and count of Sellers & categories, held against SQL on the tables that they speak of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from told import find, plain, told

from app import text

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]
Rank = tuple[str, str, str | None, float, int, int]


@pytest.fixture
def run(sql: Sql) -> str:
    [(name,)] = sql("SELECT default_run FROM snapshot")
    return str(name)


@pytest.fixture
def ranked(sql: Sql, run: str) -> list[Rank]:
    """query, item, seller, searches, rank, rank without SIDs of every pair that counts for exposure."""
    return sql(
        """
        SELECT s.query_id, s.item_id, coalesce(i.seller, '(unknown)'), q.frequency, s.rank, s.rank_without_sid
        FROM scores s JOIN queries q USING (query_id) JOIN items i USING (item_id)
        WHERE s.run_id = ? AND q.frequency > 0 AND s.rank IS NOT NULL AND s.rank_without_sid IS NOT NULL
        """,
        run,
    )  # type: ignore[return-value]


def some_sellers(sql: Sql, run: str) -> list[str]:
    """Who lost most, who gained most, one of each verdict, and who rests on too little."""
    rows = sql(
        """
        SELECT unnest([arg_min("value", difference), arg_max("value", difference), min("value")])
        FROM exposure WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2' AND "value" <> '(unknown)' GROUP BY verdict
        """,
        run,
    )
    return sorted({str(name) for (name,) in rows})


def discount(rank: int) -> float:
    return 1 / math.log2(1 + rank)


def test_the_answer_and_its_numbers(true_page: Page, sql: Sql, run: str, ranked: list[Rank]) -> None:
    total = sum(w * discount(r) for *_, w, r, _ in ranked)
    [(catalogue,)] = sql("SELECT count(*) FROM items")
    merit = sql(
        """
        SELECT coalesce(i.seller, '(unknown)'), sum(j.grade), count(*) FROM judgments j JOIN items i USING (item_id)
        JOIN scores s ON s.run_id = ? AND s.query_id = j.query_id AND s.item_id = j.item_id WHERE s.rank IS NOT NULL GROUP BY 1
        """,
        run,
    )
    all_merit = sum(grade for _, grade, _ in merit)
    for seller in some_sellers(sql, run):
        page = true_page("sellers", value=seller)
        mine = [row for row in ranked if row[2] == seller]
        share, without = (sum(row[3] * discount(row[side]) for row in mine) / total for side in (4, 5))
        change = share - without
        weight = {row[0]: row[3] for row in mine}
        effective = sum(weight.values()) ** 2 / sum(w * w for w in weight.values()) if weight else 0.0
        line = find(page, rf"^Seller {re.escape(seller)} is seen (\w[\w ]*) with semantic identifiers").string
        assert ("is seen less" in line) == (change < -1e-15)
        assert (
            f"it had {100 * without:.2f} % of all exposure without them and has {100 * share:.2f} % with them" in line
        )
        if abs(change) > 1e-15:
            assert f", {100 * change:+.3f} pp" in line
            assert without == 0 or f", {100 * change / without:+.1f} % of what it had" in line
        assert (
            f"among the results of {text.plural(len(weight), 'query', 'queries')}, worth {effective:,.0f} equally frequent ones"
            in line
        )
        cards = {m.label: m.value for m in page.metric}
        assert cards["Change of exposure"] == (f"{100 * change:+.3f} pp" if effective >= 30 else "n too small")
        assert cards["Share of exposure with SIDs"] == f"{100 * share:.2f} %"
        [(items,)] = sql("SELECT count(*) FROM items WHERE seller = ?", seller)
        assert (
            f"{100 * without:.2f} % without; {text.plural(items, 'item', 'items')}, {100 * items / catalogue:.2f} % of the catalogue"
            in told(page)
        )
        [(grade, pairs)] = [row[1:] for row in merit if row[0] == seller] or [(0.0, 0)]
        due = grade / all_merit
        assert cards["Exposure / merit"] == (f"{share / due:.2f} ×" if pairs >= 30 and due > 0 else "n too small")
        assert (
            f"{100 * due:.2f} % of judged relevance, n = {text.plural(pairs, 'judged pair', 'judged pairs')}"
            in told(page)
        )
        certain(line, sql, run, seller, effective)


def certain(line: str, sql: Sql, run: str, seller: str, effective: float) -> None:
    """The verdict and its certainty, by size, q value and n."""
    [(difference, low, high, q)] = sql(
        "SELECT difference, low, high, q_value FROM exposure WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2' AND \"value\" = ?",
        run, seller,
    )  # fmt: skip
    if effective < 30:
        assert "N too small to say more" in line
        assert "interval" not in line
        return
    sure = "could be chance" if q > 0.05 else "clear" if abs(difference) >= 1e-4 else "clear but tiny"
    word = "unchanged" if difference == 0 else f"{'gains' if difference > 0 else 'loses'}, {sure}"
    assert f"In words: {word} (95 % interval [{100 * low:+.3f}, {100 * high:+.3f}] pp, q = {q:.3f};" in line


def test_the_causes_in_a_sentence(true_page: Page, sql: Sql, run: str) -> None:
    for seller in some_sellers(sql, run):
        rows = sql(
            """
            SELECT part, level, signal, net FROM causes
            WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2' AND "value" = ? AND told = 'signal'
            """,
            run, seller,
        )  # fmt: skip
        if not rows:
            continue
        page = true_page("sellers", value=seller)
        net: dict[str, float] = {}
        for part, _, _, value in rows:
            net[part] = net.get(part, 0.0) + value
        line = find(page, r"^Of the [+-][\d.]+ pp, ").string
        whole = sum(net.values())
        whole_pp = f"{100 * whole:+.4f} pp"
        [(stored,)] = sql(
            "SELECT difference FROM exposure WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2' AND \"value\" = ?", run, seller
        )  # fmt: skip
        assert whole == pytest.approx(stored, abs=1e-12)
        assert line.startswith(f"Of the {100 * whole:+.3f} pp, ")
        for part, words in (
            ("through SIDs", "go through SIDs"), ("not through SIDs", "not through SIDs"), ("not explained", "not explained"),
            ("through SIDs, part not stored", "through SIDs below the places that are explained in full"),
        ):  # fmt: skip
            assert (f"{100 * net.get(part, 0.0):+.3f} pp {words}" in line) == (part in net), part
        if "through SIDs" in net:
            side = 1 if net["through SIDs"] >= 0 else -1
            levels: dict[int, float] = {}
            for part, level, _, value in rows:
                if part == "through SIDs":
                    levels[level] = levels.get(level, 0.0) + value
            main = max(levels, key=lambda level: side * levels[level])
            assert f"(level {main}: {100 * levels[main]:+.3f} pp" in line
        find(
            page,
            "^"
            + re.escape(
                f"Parts add up to {whole_pp}, codes to {whole_pp}, queries to {whole_pp}; the audited change is {whole_pp}."
            ),
        )


def test_the_examples_queries_and_codes_are_the_largest(
    true_page: Page, sql: Sql, run: str, ranked: list[Rank]
) -> None:
    total = sum(w * discount(r) for *_, w, r, _ in ranked)
    words = dict(sql("SELECT query_id, text FROM queries"))
    titles = dict(sql("SELECT item_id, title FROM items"))
    for seller in some_sellers(sql, run):
        moved = [
            (w * (discount(r) - discount(o)) / total, q, i, r, o)
            for q, i, s, w, r, o in ranked
            if s == seller and r != o
        ]
        if not moved:
            continue
        page = true_page("sellers", value=seller)
        whole = sum(c for c, *_ in moved)
        side = 1 if whole >= 0 else -1
        largest = max((side * c, q, i, r, o) for c, q, i, r, o in moved)
        if largest[0] > 0:
            find(
                page,
                re.escape(
                    f"rank {largest[4]} without SIDs, {largest[3]} with them ({100 * side * largest[0]:+.4f} pp)"
                ),
            )
            find(page, re.escape(f"“{text.shortened(titles[largest[2]])}” for “{text.shortened(words[largest[1]])}”"))
        by_query: dict[str, float] = {}
        for change, query, *_ in moved:
            by_query[query] = by_query.get(query, 0.0) + change
        top = sorted((side * c for c in by_query.values() if side * c > 0), reverse=True)[:3]
        if top and abs(whole) > 1e-15:
            line = find(
                page,
                r"([\d,]+) quer(?:y changes|ies change) it\. Most comes from .*: ([+-][\d.]+) pp\. Were .* its change would be ([+-][\d.]+) pp\.",
            )
            assert int(line[1].replace(",", "")) == len(by_query)
            assert line[2] == f"{100 * side * sum(top):+.3f}"
            assert line[3] == f"{100 * (whole - side * sum(top)):+.3f}"
        codes = sql(
            """
            SELECT prefix, net FROM causes WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2' AND "value" = ?
            AND told = 'prefix' AND prefix IS NOT NULL AND net * ? > 0 ORDER BY abs(net) DESC LIMIT 3
            """,
            run, seller, side,
        )  # fmt: skip
        for prefix, net in codes:
            find(page, rf"(^|- ){re.escape(prefix)}(?: \([^)]*\))?: {re.escape(f'{100 * net:+.4f}')} pp")


def test_what_became_of_its_relevant_items(true_page: Page, sql: Sql, run: str) -> None:
    for seller in some_sellers(sql, run):
        page = true_page("sellers", value=seller)
        [(pairs, found)] = sql(
            """
            SELECT count(*), count(*) FILTER (s.rank <= 10) FROM judgments j JOIN items i USING (item_id) CROSS JOIN snapshot n
            LEFT JOIN scores s ON s.run_id = ? AND s.query_id = j.query_id AND s.item_id = j.item_id
            WHERE i.seller = ? AND j.grade >= n.relevant_grade
            """,
            run, seller,
        )  # fmt: skip
        if not pairs:
            find(page, "None of its items was judged relevant for a query")
            continue
        many = text.plural(pairs, "judged relevant pair", "judged relevant pairs")
        line = find(
            page,
            rf"Of {re.escape(many)} of a query and one of its items, {found:,} (?:is|are) on page one \({100 * found / pairs:.1f} %\)\.",
        ).string
        lost = [
            int(n.replace(",", ""))
            for n in re.findall(r"(?:^|- )([\d,]+) (?:not retrieved|lost in the beam|outranked|more w)", line)
        ]
        assert sum(lost) == pairs - found


def test_charts_count_what_they_draw(true_page: Page, sql: Sql, run: str) -> None:
    page = true_page("sellers")
    [(n, small, judged, pairs)] = sql(
        """
        SELECT count(*), count(*) FILTER (effective_n < 30), count(*) FILTER (n_merit_pairs >= 30),
               coalesce(sum(n_merit_pairs) FILTER (n_merit_pairs >= 30), 0)::BIGINT
        FROM exposure WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2'
        """,
        run,
    )
    drawn = min(16, n - small)
    if drawn:
        find(page, rf"^{drawn} of {n} sellers, the largest changes{f'; for {small} n is too small' if small else ''} ·")
    else:
        find(page, "^None rests on queries worth 30")
    if judged:
        find(page, rf"^{judged} of {n} sellers, {pairs:,} judged pairs ·")
    else:
        find(page, "^None has 30 judged pairs or more")


def test_groups_of_sellers_hold_whole_sellers(true_page: Page, sql: Sql, run: str) -> None:
    """All items of a seller are in one group, groups keep the order of sizes, and their shares are sums of the sellers'."""
    sizes = dict(sql("SELECT seller, count(*) FROM items WHERE seller IS NOT NULL GROUP BY 1"))
    if len(sizes) < 8:
        assert not sql("SELECT 1 FROM exposure WHERE dimension = 'seller_size'")
        return
    page = true_page("sellers", dimension="seller size")
    rows = next(f.value for f in page.dataframe if "in_words" in f.value.columns).set_index("value")
    shares = dict(
        sql(
            "SELECT \"value\", share FROM exposure WHERE run_id = ? AND dimension = 'seller' AND discount = 'log2'", run
        )
    )
    sellers = 0
    for name, row in rows.iterrows():
        low, _, high = str(name).partition("(")[2].removesuffix(" items)").removesuffix(" item)").partition("-")
        if not low[:1].isdigit():
            continue
        inside = [s for s, n in sizes.items() if int(low.replace(",", "")) <= n <= int((high or low).replace(",", ""))]
        sellers += len(inside)
        assert row["n_items"] == sum(sizes[s] for s in inside)
        assert row["share"] == pytest.approx(sum(shares[s] for s in inside), abs=1e-9)
    assert sellers == len(sizes)


@pytest.mark.parametrize("cohort", ["all", "department", "tier", "moved"])
def test_drivers_are_told_from_contributions(true_page: Page, sql: Sql, run: str, cohort: str) -> None:
    [(config, feature_table)] = sql(
        "SELECT config, (SELECT count(*) FROM contributions WHERE run_id = ?) FROM runs WHERE run_id = ?", run, run
    )
    if not feature_table:
        return
    depth = json.loads(config)["retrieval"]["explained"]
    page = true_page("sellers", cohort=cohort)
    chosen = next((s.value for s in page.selectbox if s.label == "Which"), "all")
    where = {
        "all": "true", "tier": "i.tier = $value", "department": "g.department = $value",
        "moved": "CASE WHEN s.rank < s.rank_without_sid THEN 'gained' WHEN s.rank > s.rank_without_sid THEN 'lost' ELSE 'unmoved' END = $value",
    }[cohort].replace("$value", "?")  # fmt: skip
    values = () if cohort == "all" else (chosen,)
    sizes = sql(
        f"""
        SELECT CASE WHEN starts_with(c.feature, 'sid_') THEN 'sid' ELSE c.feature END AS player, sum(abs(c.value) * q.frequency),
               count(DISTINCT (query_id, item_id)), count(DISTINCT query_id)
        FROM contributions c JOIN scores s USING (run_id, query_id, item_id) JOIN queries q USING (query_id)
        JOIN items i USING (item_id) LEFT JOIN categories g ON g.category = i.category
        WHERE run_id = ? AND s.rank <= {int(depth)} AND q.frequency > 0 AND s.rank_without_sid IS NOT NULL AND {where} GROUP BY 1
        """,
        run, *values,
    )  # fmt: skip
    if max(n for *_, n in sizes) < 30:
        find(page, "^N too small: it stands among the first results of")
        return
    total = sum(size for _, size, *_ in sizes)
    line = find(page, "^What decides the place of ").string
    copied = next(c.value for c in page.code if c.value.startswith("Main parameters"))
    listed = re.findall(r"^\d+\. .*: (\d+) %\.$", copied, re.MULTILINE)
    large = sorted((size / total for _, size, *_ in sizes if size / total >= 0.05), reverse=True)
    assert listed == [f"{100 * part:.0f}" for part in large]
    for player, size, *_ in sizes:
        name = "semantic identifiers" if player == "sid" else text.FEATURE_NAMES.get(player, player)
        assert (f"{name[:1].lower()}{name[1:]} ({100 * size / total:.0f} %)" in line) == (size / total >= 0.05)
    pairs, queries = max(n for *_, n, _ in sizes), max(n for *_, n in sizes)
    assert f"over {pairs:,} results shown for {queries:,} queries" in copied
    find(page, rf"{pairs:,} results of {queries:,} queries, all in the explained places")


def test_the_online_effect_is_told_no_finer_than_it_is(true_page: Page, sql: Sql, run: str) -> None:
    page = true_page("sellers")
    rows = sql(
        """
        SELECT metric, relative, relative_low, relative_high, sessions_per_arm, effective_n, n_queries, changed
        FROM online WHERE run_id = ? AND scenario = 'estimate'
        """,
        run,
    )
    if not rows:
        find(page, "No online effect was simulated")
        return
    for metric, relative, low, high, sessions, effective, n, changed in rows:
        assert f"the logged mix of {n:,} queries" in find(page, "A simulation, not a measurement").string
        if effective < 30:
            continue
        line = find(page, rf"\({metric.upper()}\): ").string
        assert f"({metric.upper()}): {100 * relative:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}] %" in line
        if sessions is not None:
            rounded = round(sessions, 1 - math.floor(math.log10(sessions)))
            assert f"about {rounded:,.0f} sessions in each arm" in line
        find(page, rf"^{100 * changed:.1f} % of the attention falls on places that show another item")
    assert not any(
        re.search(r"\d{1,3},\d{3},\d*[1-9]\d{0,2}\b", line) for line in told(page) if "sessions" in line.lower()
    )


def test_a_misspelt_seller_is_offered(true_page: Page, sql: Sql) -> None:
    [(seller,)] = sql("SELECT seller FROM items WHERE seller IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1")
    page = true_page("sellers", value=f"{seller}x")
    assert seller in [plain(b.label) for b in page.button]
