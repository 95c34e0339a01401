"""What the map reads, against the tables themselves and numbers worked by hand."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from filled_snapshot import COUNTS, RUN, N

from app.queries import map as maps
from app.queries import map_parts as parts

Cursor = duckdb.DuckDBPyConnection
LASSO = "-1,-1,3,-1,3,4,1,1,-1,4"
"""A concave pentagon: its upper side is dented down to (1, 1)."""


@pytest.fixture
def items(cursor: Cursor) -> pd.DataFrame:
    return cursor.execute(
        "SELECT * EXCLUDE (run_id) FROM items JOIN projection USING (item_id) JOIN sids USING (item_id) WHERE projection.run_id = sids.run_id"
    ).df()


def points(cursor: Cursor, most: int = 1_000, colouring: str = "department", query: str = "") -> pd.DataFrame:
    return maps.points(cursor, RUN, 1, maps.EVERYWHERE, most, colouring, query)


class TestPoints:
    def test_all_of_them_when_they_fit(self, cursor: Cursor) -> None:
        rows = points(cursor)
        assert len(rows) == N
        assert rows["x"].dtype == np.float32
        assert rows["title"].str.len().max() <= maps.TITLE

    def test_sample_keeps_every_code_in_proportion(self, cursor: Cursor) -> None:
        rows = points(cursor, 40)
        kept = rows["sid"].str.split("-").str[0].value_counts()
        assert set(kept.index) == {"0", "1", "2"}
        assert kept["0"] == np.ceil(COUNTS[0] * 40 / N)
        assert rows["n"].iloc[0] == N
        assert list(points(cursor, 40)["item_id"]) == list(rows["item_id"])

    def test_amounts_are_those_of_the_tables(self, cursor: Cursor) -> None:
        for colouring, column in (("price", "SELECT item_id, price FROM items"),
                                  ("grade", "SELECT item_id, avg(grade) FROM judgments GROUP BY 1")):  # fmt: skip
            told = points(cursor, colouring=colouring).set_index("item_id")["value"].dropna()
            known = dict(cursor.execute(column).fetchall())
            assert set(told.index) == set(known)
            assert told.to_dict() == pytest.approx(known, rel=1e-5)

    def test_exposure_gained_is_in_shares_of_an_average_item(self, cursor: Cursor) -> None:
        pairs = cursor.execute(
            "SELECT item_id, rank, rank_without_sid AS other, frequency AS f FROM scores JOIN queries USING (query_id) WHERE rank IS NOT NULL"
        ).df()
        own = (pairs["f"] / np.log2(1 + pairs["rank"])).groupby(pairs["item_id"]).sum()
        other = (pairs["f"] / np.log2(1 + pairs["other"])).groupby(pairs["item_id"]).sum()
        expected = N * (own / own.sum() - other / other.sum())
        told = points(cursor, colouring="exposure").set_index("item_id")["value"]
        assert told.sum() == pytest.approx(0, abs=1e-3)
        assert told[expected.index].to_dict() == pytest.approx(expected.to_dict(), abs=1e-4)

    def test_reached_counts_the_codes_that_agree_with_a_beam(self, cursor: Cursor) -> None:
        told = points(cursor, colouring="reached", query="q01").set_index("item_id")
        beams = [tuple(c) for (c,) in cursor.execute("SELECT codes FROM beams WHERE query_id = 'q01'").fetchall()]
        for row in told.itertuples():
            codes = tuple(int(c) for c in row.sid.split("-"))
            deepest = max(next((k for k in range(3) if codes[k] != beam[k]), 3) for beam in beams)
            assert row.value == deepest
        assert set(points(cursor, colouring="reached", query="no such query")["value"]) == {0}

    def test_values_with_a_mark_are_the_commonest_of_the_whole_map(self, cursor: Cursor, items: pd.DataFrame) -> None:
        rows = maps.marked_values(cursor, RUN, "seller", 1)
        counts = items["seller"].value_counts()
        assert list(rows["value"]) == list(counts.index)
        assert list(rows["n_items"]) == list(counts)
        codes = maps.marked_values(cursor, RUN, "code", 1)
        assert list(codes["value"]) == ["0", "1", "2"]
        assert codes["label"].notna().all()

    def test_scale_is_of_the_whole_map(self, cursor: Cursor, items: pd.DataFrame) -> None:
        told = maps.amounts(cursor, RUN, "price", 1)
        assert told["low"] == pytest.approx(items["price"].quantile(0.01))
        assert told["high"] == pytest.approx(items["price"].quantile(0.99))
        assert told["n"] == told["n_items"] == N

    def test_only_what_the_data_has_is_offered(self, cursor: Cursor, bare_cursor: Cursor) -> None:
        assert all(maps.colourings(cursor, RUN).values())
        held = maps.colourings(bare_cursor, RUN)
        assert [name for name, has in held.items() if has] == ["code"]
        assert maps.currency(cursor) == "EUR"
        assert maps.currency(bare_cursor) == ""


class TestDensity:
    def test_every_item_is_counted_once(self, cursor: Cursor) -> None:
        box = (-1.0, 4.0, -2.0, 3.0)
        cells = maps.density(cursor, RUN, 1, box, 8)
        assert cells["n_items"].sum() == maps.count(cursor, RUN, box) > 0
        assert cells["x"].between(-1, 4).all()
        assert ((cells["share"] > 0) & (cells["share"] <= 1)).all()
        assert cells["label"].notna().all()


class TestNames:
    def test_compact_codes_are_named_above_their_items(self, cursor: Cursor, items: pd.DataFrame) -> None:
        rows = maps.names(cursor, RUN, maps.EVERYWHERE, 100)
        wide, high = np.ptp(items["x"]), np.ptp(items["y"])
        expected = {}
        for level in (1, 2, 3):
            for prefix, group in items.groupby(items["sid"].str.split("-").str[:level].str.join("-")):
                spread = [group[v].quantile(0.9) - group[v].quantile(0.1) for v in ("x", "y")]
                if len(group) >= 3 and spread[0] <= 0.25 * wide and spread[1] <= 0.25 * high:
                    expected[prefix] = (group["x"].median(), group["y"].quantile(0.9))
        assert expected, "the snapshot has compact codes"
        assert set(rows["prefix"]) == set(expected)
        for row in rows.itertuples():
            assert (row.x, row.y) == pytest.approx(expected[row.prefix], abs=1e-4)
        assert list(rows["n_items"]) == sorted(rows["n_items"], reverse=True)


class TestParts:
    def test_regions_of_links(self) -> None:
        assert parts.region("3,1,-2,5.5") == (1, 3, -2, 5.5)
        assert parts.region(LASSO) == (-1, -1, 3, -1, 3, 4, 1, 1, -1, 4)
        for bad in ("", None, "1,2,3", "1,2,3,4,5", "1,2,x,4", "nan,1,2,3", "1e9,2,3,4", ",".join(["1"] * 98)):
            assert parts.region(bad) is None

    def test_box(self, cursor: Cursor, items: pd.DataFrame) -> None:
        expected = items[items["x"].between(0, 2) & items["y"].between(-1, 1)]
        rows = parts.rows(cursor, RUN, "region", "0,2,-1,1", 1_000, 0)
        assert set(rows["item_id"]) == set(expected["item_id"])
        assert parts.size(cursor, RUN, "region", "0,2,-1,1") == len(expected) > 0
        assert rows["kept"].notna().all()

    def test_lasso_leaves_out_what_lies_in_its_dent(self, cursor: Cursor) -> None:
        rows = parts.rows(cursor, RUN, "region", LASSO, 1_000, 0).set_index("item_id")
        every = parts.rows(cursor, RUN, "region", "-1,3,-1,4", 1_000, 0)
        for row in every.itertuples():
            roof = 4 - 1.5 * (row.x + 1) if row.x < 1 else 1 + 1.5 * (row.x - 1)
            assert (row.item_id in rows.index) == (row.y < roof)
        assert 0 < len(rows) < len(every)

    def test_words_in_any_field_and_any_order(self, cursor: Cursor, items: pd.DataFrame) -> None:
        title = items["title"].str.lower()
        expected = items[title.str.contains("red") & (items["seller"] == "Beta")]
        assert parts.size(cursor, RUN, "words", "beta RED") == len(expected) > 0
        assert parts.size(cursor, RUN, "words", "%") == 0, "no pattern of SQL"

    def test_code_and_its_surroundings(self, cursor: Cursor) -> None:
        assert parts.size(cursor, RUN, "code", "1") == COUNTS[1]
        places = parts.places(cursor, RUN, "code", "1", maps.EVERYWHERE, 10)
        assert len(places) == 10
        assert set(places["n"]) == {COUNTS[1]}
        around = parts.surroundings(cursor, RUN, "code", "1")
        assert around is not None
        inside = parts.places(cursor, RUN, "code", "1", around, 1_000)
        assert len(inside) >= 0.8 * COUNTS[1]
        assert parts.surroundings(cursor, RUN, "code", "77") is None
        assert parts.surroundings(cursor, RUN, "region", LASSO) == (-1, 3, -1, 4)

    def test_carried_counts(self, cursor: Cursor, items: pd.DataFrame) -> None:
        rows = parts.carried(cursor, RUN, "region", "0,9,-9,9")
        chosen = items["x"].between(0, 9) & items["y"].between(-9, 9)
        assert (rows["n_inside"] == chosen.sum()).all()
        assert (rows["n_outside"] == (~chosen).sum()).all()
        facts = {
            "seller": items["seller"], "brand": items["brand"], "category": items["category"],
            "code": items["sid"].str.split("-").str[0],
        }  # fmt: skip
        for field, values in facts.items():
            for row in rows[(rows["field"] == field) & (rows["level"].isna() | (rows["level"] == 1))].itertuples():
                assert (row.inside, row.outside) == (
                    (values[chosen] == row.value).sum(),
                    (values[~chosen] == row.value).sum(),
                )
        mini = items["title"].str.lower().str.contains(r"\bmini\b")
        (row,) = rows[(rows["field"] == "word") & (rows["value"] == "mini")].itertuples()
        assert (row.inside, row.outside) == ((mini & chosen).sum(), (mini & ~chosen).sum())
        assert rows["inside"].min() >= parts.LEAST_WITH

    def test_kept_of_a_part_and_of_everything(self, cursor: Cursor) -> None:
        rows = parts.kept(cursor, RUN, "code", "1")
        (expected,) = cursor.execute(
            "SELECT avg(kept) FROM projection_kept JOIN sids USING (run_id, item_id) WHERE code_1 = 1"
        ).fetchone()
        assert rows["n"].sum() == COUNTS[1]
        assert (rows["kept"] * rows["n"]).sum() / COUNTS[1] == pytest.approx(expected)
        assert parts.kept(cursor, RUN, "", "")["n"].sum() == N

    def test_query_on_the_map(self, cursor: Cursor) -> None:
        rows = parts.of_query(cursor, RUN, "q01", 10_000, 0).set_index("item_id")
        (retrieved,) = cursor.execute("SELECT count(*) FROM scores WHERE query_id = 'q01' AND retrieved").fetchone()
        assert rows["rank"].notna().sum() == retrieved
        judged = dict(cursor.execute("SELECT item_id, grade FROM judgments WHERE query_id = 'q01'").fetchall())
        assert rows["grade"].dropna().to_dict() == judged
        assert rows["relevant"].dropna().astype(bool).to_dict() == {i: g >= 2 for i, g in judged.items()}
        held = cursor.execute(
            "SELECT item_id, min(rank) FROM sids JOIN beams USING (run_id, sid) WHERE query_id = 'q01' GROUP BY 1"
        ).fetchall()
        assert rows["beam"].dropna().to_dict() == dict(held)

    def test_queries_by_words(self, cursor: Cursor) -> None:
        [(text,)] = cursor.execute("SELECT text FROM queries WHERE query_id = 'q01'").fetchall()
        first = parts.asked(cursor, RUN, text.upper(), 3).iloc[0]
        assert bool(first["exact"])
        assert first["text"] == text
        loose = parts.asked(cursor, RUN, text.split()[0], 3)
        assert not loose["exact"].any()
        assert loose["text"].str.contains(text.split()[0]).all()
        assert list(loose["frequency"]) == sorted(loose["frequency"], reverse=True)
        assert parts.asked(cursor, RUN, "zzz", 3).empty

    def test_words_that_a_mistyped_one_is_held_against(self, cursor: Cursor) -> None:
        words = maps.vocabulary(cursor, 100)
        assert {"Alpha", "Nor", "Lamps", "outdoor"} <= set(words)
        assert len(words) == len(set(words))


def test_one_selection_in_another_run(two_runs_workspace: object) -> None:
    from filled_snapshot import OTHER_RUN

    (path,) = (two_runs_workspace / "snapshots").glob("*.duckdb")  # type: ignore[operator]
    with duckdb.connect(str(path), read_only=True) as cursor:
        assert maps.drawn_runs(cursor) == [RUN, OTHER_RUN]
        here = parts.places(cursor, RUN, "code", "1", maps.EVERYWHERE, 1_000)
        there = parts.places(cursor, RUN, "code", "1", maps.EVERYWHERE, 1_000, OTHER_RUN)
        assert set(here["item_id"]) == set(there["item_id"])
        own = dict(cursor.execute("SELECT item_id, sid FROM sids WHERE run_id = ?", [OTHER_RUN]).fetchall())
        assert there.set_index("item_id")["sid"].to_dict() == {i: own[i] for i in there["item_id"]}
        held = parts.held_by(cursor, RUN, "code", "1", OTHER_RUN).set_index("level")
        deepest = there["sid"].value_counts()
        assert (held.loc[3, "n_codes"], held.loc[3, "n_most"], held.loc[3, "n"]) == (
            len(deepest),
            deepest.iloc[0],
            len(here),
        )
