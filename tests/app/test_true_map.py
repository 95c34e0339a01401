"""The map's sentences and counts, each recomputed from the snapshot by SQL of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy.stats import beta
from streamlit.testing.v1 import AppTest
from told import find, plain, told

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]
RUN = "(SELECT default_run FROM snapshot)"
MAP = f"projection p JOIN sids s USING (run_id, item_id) JOIN items i USING (item_id) WHERE p.run_id = {RUN}"


def whole(sql: Sql) -> int:
    return int(sql(f"SELECT count(*) FROM {MAP}")[0][0])


@pytest.fixture
def region(sql: Sql) -> tuple[float, float, float, float]:
    """The lower left of the map up to its medians, as a link writes it."""
    (row,) = sql(f"SELECT min(p.x), median(p.x), min(p.y), median(p.y) FROM {MAP}")
    return tuple(round(float(v), 3) for v in row)  # type: ignore[return-value]


def address(region: tuple[float, ...]) -> str:
    return ",".join(f"{v:.3f}" for v in region)


IN_REGION = "p.x BETWEEN ? AND ? AND p.y BETWEEN ? AND ?"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def kept(sql: Sql, condition: str, *values: object) -> tuple[int, float, float]:
    rows = sql(
        f"SELECT k.kept FROM projection_kept k JOIN {MAP.replace('WHERE', 'USING (run_id, item_id) WHERE')} AND {condition}",
        *values,
    )
    shares = pd.Series([float(share) for (share,) in rows])
    return len(shares), float(shares.mean()), 1.96 * float(shares.std()) / math.sqrt(len(shares))


def table(page: AppTest, column: str) -> pd.DataFrame:
    (found,) = [t.value for t in page.dataframe if column in t.value.columns]
    return found


def test_the_whole_map(true_page: Page, sql: Sql) -> None:
    page = true_page("codebook")
    n = whole(sql)
    find(page, rf"^{n:,} items, all · run ")
    (trust,) = sql(
        f"SELECT trustworthiness, n_sampled, neighbours, landmarks, seed FROM projection_info WHERE run_id = {RUN}"
    )
    measured, mean, _ = kept(sql, "true")
    find(
        page,
        rf"of an item's {trust[2]} nearest neighbours it keeps {percent(mean)}, measured on {measured:,} items; who is a neighbour on "
        rf"it is one in truth to {trust[0]:.3f} of 1 \(trustworthiness, measured on {trust[1]:,}\); how far apart groups lie means "
        rf"little\. Made with {trust[3]:,} landmarks, seed {trust[4]};",
    )  # fmt: skip
    assert not [line for line in told(page) if line.startswith("A closer look")], "nothing is looked at yet"


def test_items_found(true_page: Page, sql: Sql, region: tuple[float, ...]) -> None:
    [(word,)] = sql(
        f"SELECT lower(brand) FROM {MAP} AND brand IS NOT NULL GROUP BY brand ORDER BY count(*) DESC, brand LIMIT 1"
    )
    carries = "contains(lower(concat_ws(' ', i.title, i.brand, i.seller, i.category)), ?)"
    n = sql(f"SELECT count(*) FROM {MAP} AND {carries}", word)[0][0]
    here = sql(f"SELECT count(*) FROM {MAP} AND {carries} AND {IN_REGION}", word, *region)[0][0]
    page = true_page("codebook", lit=str(word), box=address(region), look="items lit up")
    find(
        page,
        rf"^{n:,} items carry “{re.escape(str(word))}” in title, brand, seller or category, {here:,} of them in view\.$",
    )
    find(page, rf"^{n:,} items, {percent(n / whole(sql))} of the {whole(sql):,} on the map\.$")
    inside = sql(f"SELECT count(*) FROM {MAP} AND {IN_REGION}", *region)[0][0]
    find(page, rf"^{inside:,} items in view, of {whole(sql):,} on the map, all · ")
    nobody = true_page("codebook", lit="qqqqzzzz")
    find(nobody, "No item carries “qqqqzzzz”")


def test_a_query_drawn(true_page: Page, sql: Sql) -> None:
    [(query, text)] = sql(
        f"""SELECT query_id, any_value(text) FROM queries JOIN judgments USING (query_id)
            WHERE query_id IN (SELECT query_id FROM scores WHERE run_id = {RUN}) AND text IN (SELECT text FROM queries GROUP BY 1 HAVING count(*) = 1)
            GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"""
    )
    under = f"SELECT DISTINCT item_id FROM sids JOIN beams USING (run_id, sid) WHERE run_id = {RUN} AND query_id = ?"
    held = {i for (i,) in sql(under, query)}
    candidates = {
        i for (i,) in sql(f"SELECT item_id FROM scores WHERE run_id = {RUN} AND query_id = ? AND retrieved", query)
    }
    judged: dict[Any, Any] = dict(sql("SELECT item_id, avg(grade) FROM judgments WHERE query_id = ? GROUP BY 1", query))
    threshold = sql("SELECT relevant_grade FROM snapshot")[0][0]
    relevant = {i for i, grade in judged.items() if grade >= threshold}
    said = (
        f"{len(held):,} items lie under the SIDs of its beams, {len(candidates):,} are candidates, {len(judged):,} are judged, "
        f"{len(relevant):,} of them relevant"
        + (f" ({len(relevant & held):,} of those under a beam)" if relevant else "")
        + "."
    )
    page = true_page("codebook", mapq=str(text), colour="reached by the drawn query")
    find(page, rf"^Query “{re.escape(plain(str(text)))}”: {re.escape(said)}")
    rows = table(page, "beam")
    assert set(rows["item_id"]) == held | candidates | set(judged)
    assert set(rows.loc[rows["beam"].notna(), "item_id"]) == held


def test_words_that_are_no_query_s_are_met_with_queries_that_carry_them(true_page: Page, sql: Sql) -> None:
    [(word, n)] = sql(
        f"""SELECT word, count(*) FROM (SELECT unnest(list_distinct(string_split(lower(text), ' '))) AS word, query_id FROM queries
            WHERE query_id IN (SELECT query_id FROM beams WHERE run_id = {RUN})) WHERE len(word) > 3
            AND word NOT IN (SELECT lower(text) FROM queries) GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1"""
    )
    assert n > 1
    page = true_page("codebook", mapq=str(word))
    find(page, f"No stored query is “{word}”")
    offered = [b for b in page.button if str(b.key).startswith("mapq-")]
    assert offered
    assert all(str(word) in plain(b.label).lower() for b in offered)
    offered[0].click().run()
    find(page, rf"^Query “{re.escape(plain(offered[0].label))}”")


def bound(inside: int, outside: int, n: int, m: int, comparisons: int) -> float:
    """The lower bound of the log-odds ratio, from Clopper and Pearson's limits by scipy's beta distribution."""
    error = 0.05 / 2 / comparisons
    low = beta.ppf(error, inside, n - inside + 1) if inside else 0.0
    high = beta.ppf(1 - error, outside + 1, m - outside) if outside < m else 1.0
    if high == 1 or low == 0:
        return -math.inf
    return math.log(low / (1 - low)) - math.log(high / (1 - high)) if low < 1 else math.inf


FIELDS = {
    "category": "i.category = ?", "seller": "i.seller = ?", "brand": "i.brand = ?", "code": "(s.sid = ? OR starts_with(s.sid, ? || '-'))",
    "word": "list_contains(regexp_extract_all(lower(i.title), '[\\pL\\pN]{2,}'), ?)",
}  # fmt: skip


def test_a_region_looked_at(true_page: Page, sql: Sql, region: tuple[float, ...]) -> None:
    page = true_page("codebook", sel=address(region))
    n, everything = sql(f"SELECT count(*) FROM {MAP} AND {IN_REGION}", *region)[0][0], whole(sql)
    find(page, "^A closer look at the drawn region$")
    find(page, rf"^{n:,} items, {percent(n / everything)} of the {everything:,} on the map\.$")
    measured, mean, far = kept(sql, IN_REGION, *region)
    _, overall, _ = kept(sql, "true")
    verdict = "fewer than" if mean + far < overall else "more than" if mean - far > overall else "about as many as"
    find(
        page,
        rf"the map keeps {percent(mean)} \[{100 * (mean - far):.1f}, {100 * (mean + far):.1f}\] %, mean over {measured:,} measured items: {verdict} on the whole map",
    )
    rows = table(page, "kept")
    assert set(rows["item_id"]) == {i for (i,) in sql(f"SELECT item_id FROM {MAP} AND {IN_REGION}", *region)}
    shown = table(page, "log_odds")
    found = find(page, r"^([\d,]+) of ([\d,]+) compared stand out")
    clear, compared = (int(found[k].replace(",", "")) for k in (1, 2))
    assert clear == len(shown) > 0
    for row in shown.head(25).to_dict("records"):
        condition = FIELDS[str(row["field"])]
        values = [row["value"]] * condition.count("?")
        has = "true" if row["field"] in ("code", "word") else f"i.{row['field']} IS NOT NULL"
        inside, n_inside = sql(
            f"SELECT count(*) FILTER ({condition}), count(*) FILTER ({has}) FROM {MAP} AND {IN_REGION}",
            *values,
            *region,
        )[0]
        outside, n_outside = sql(
            f"SELECT count(*) FILTER ({condition}), count(*) FILTER ({has}) FROM {MAP} AND NOT ({IN_REGION})",
            *values,
            *region,
        )[0]
        assert (row["inside"], row["outside"]) == (inside, outside), row["name"]
        assert row["share_inside"] == pytest.approx(100 * inside / n_inside)
        assert row["beyond"] == pytest.approx(inside - n_inside * outside / n_outside)
        assert row["low"] == pytest.approx(bound(inside, outside, n_inside, n_outside, compared), rel=1e-6)
        assert row["low"] > 0
    first = shown[shown["field"] == "category"].iloc[0]
    told_of = (
        f"category {first['value']} ({first['share_inside']:.1f} % of them, {first['share_outside']:.1f} % of the rest)"
    )
    find(page, re.escape(told_of))


def test_a_code_looked_at_is_not_told_to_hold_itself(true_page: Page, sql: Sql) -> None:
    [(code, n)] = sql(
        f"SELECT prefix, n_items FROM codes WHERE run_id = {RUN} AND level = 1 ORDER BY n_items DESC, prefix LIMIT 1"
    )
    page = true_page("codebook", code=str(code))
    find(page, rf"^A closer look at code {code}$")
    find(page, rf"^{n:,} items, {percent(n / whole(sql))} of the {whole(sql):,} on the map\.$")
    shown = [t.value for t in page.dataframe if "log_odds" in t.value.columns]
    codes = [v for rows in shown for v in rows.loc[rows["field"] == "code", "value"]]
    assert not [v for v in codes if f"{v}-".startswith(f"{code}-")]


def test_nothing_stands_out_where_too_few_items_are_looked_at(true_page: Page, sql: Sql) -> None:
    """A box around the item at the map's left edge."""
    [(x, y)] = sql(f"SELECT p.x, p.y FROM {MAP} ORDER BY p.x LIMIT 1")
    near = (float(x) - 0.001, float(x) + 0.001, float(y) - 0.001, float(y) + 0.001)
    page = true_page("codebook", sel=address(near))
    n = sql(f"SELECT count(*) FROM {MAP} AND {IN_REGION}", *(round(v, 3) for v in near))[0][0]
    if 0 < n < 3:
        find(page, r"^Nothing to compare: no code, seller, brand or word is carried by 3 of them or more\.$")
    find(page, r"n too small \((1 measured item|\d+ measured items)\)" if n else "No item lies there")


def test_bad_addresses_leave_a_usable_map(true_page: Page, sql: Sql) -> None:
    page = true_page("codebook", box="1,2,3", sel="a,b", colour="no such colour", look="nothing")
    find(page, "“1,2,3”")
    find(page, "“a,b”")
    find(page, rf"^{whole(sql):,} items, all · run ")
    assert not page.exception
