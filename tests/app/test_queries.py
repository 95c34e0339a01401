"""The SELECTs of Overview, Codebook and Coverage, checked against the tables themselves, without Streamlit."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from filled_snapshot import CATEGORIES, COUNTS, OTHER_RUN, RUN, N

from app.queries import codebook, coverage, item_filter, overview, snapshot
from app.queries.item_filter import Filter

Cursor = duckdb.DuckDBPyConnection


def sids(cursor: Cursor) -> pd.DataFrame:
    return cursor.execute("SELECT * FROM sids JOIN items USING (item_id) WHERE run_id = ?", [RUN]).df()


def test_info_is_the_snapshots_row(cursor: Cursor) -> None:
    info = snapshot.info(cursor)
    assert (info["dataset"], info["n_items"], info["derived"]) == ("Test marketplace", N, ["category"])
    assert snapshot.synthetic_queries(cursor) == (1, 24)


class TestOverview:
    def test_headline_pairs_with_and_without(self, cursor: Cursor) -> None:
        rows = overview.headline(cursor, RUN)
        first = rows[(rows["metric"] == "auc")].iloc[0]
        assert first["segment"] == "all"
        assert (first["with_value"], first["without_value"]) == (0.85, 0.8)
        assert first["difference"] == pytest.approx(0.05)
        assert list(rows.loc[rows["metric"] == "auc", "segment"]) == ["all", "seen", "new", "tier=head", "tier=tail"]

    def test_ladder_is_in_order_and_names_its_differences(self, cursor: Cursor) -> None:
        rows = overview.ladder(cursor, RUN, "ndcg@10", "all").set_index("ranker")
        assert list(rows.index) == [
            "cosine", "weak", "strong", "control", "placebo", "naive", "sid", "strong_gbm", "a_new_ranker",
        ]  # fmt: skip
        assert rows.loc["placebo", "difference"] == pytest.approx(0.0)
        assert np.isnan(rows.loc["strong", "difference"])

    def test_ladder_holds_each_ranker_against_the_baseline_of_its_learner(self, two_runs_workspace: Path) -> None:
        (path,) = (two_runs_workspace / "snapshots").glob("*.duckdb")
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = overview.ladder(connection, OTHER_RUN, "auc", "all").set_index("ranker")
            headline = overview.headline(connection, OTHER_RUN).iloc[0]
        assert rows["baseline"].dropna().to_dict() == {
            **dict.fromkeys(("cosine", "weak", "control", "placebo", "naive", "sid"), "strong"),
            **dict.fromkeys(
                ("match_gbm", "match_twin", "logp_gbm", "logp_twin", "memory_gbm", "memory_twin", "rich_placebo", "rich_naive",
                 "rich", "twins", "rich_twins", "plain_gbm"), "strong_gbm",
            ),
        }  # fmt: skip
        assert rows.loc["sid", "difference"] == pytest.approx(0.85 - 0.8)
        assert rows.loc["rich", "difference"] == pytest.approx(0.86 - 0.81)
        # stored the other way round: strong less weak
        assert rows.loc["weak", ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx(
            [-0.1, -0.13, -0.07]
        )
        assert rows.loc[["strong", "strong_gbm", "a_new_ranker"], "difference"].isna().all()
        assert (headline["with_value"], headline["without_value"]) == (0.86, 0.81)

    def test_trained_rankers_are_held_against_raw_cosine(self, cursor: Cursor, two_runs_workspace: Path) -> None:
        rows = overview.against_cosine(cursor, RUN).to_dict("records")
        assert [(r["ranker"], r["served"], r["value"], r["cosine"], r["n"]) for r in rows] == [
            ("sid", True, 0.85, 0.6, 400),
            ("strong", False, 0.8, 0.6, 400),
        ]
        assert (rows[0]["difference"], rows[0]["low"], rows[0]["high"]) == pytest.approx((0.25, 0.22, 0.28))
        (path,) = (two_runs_workspace / "snapshots").glob("*.duckdb")
        with duckdb.connect(str(path), read_only=True) as connection:
            boosted = overview.against_cosine(connection, OTHER_RUN)
        assert boosted[["ranker", "served"]].values.tolist() == [["rich", True], ["sid", False], ["strong", False]]

    def test_hits_go_from_test_queries_to_those_trained_on(self, cursor: Cursor) -> None:
        rows = overview.hits(cursor, RUN, "hit")
        assert list(rows.loc[rows["level"] == 2, "segment"]) == [
            "all",
            "new",
            "split=train, out of fold",
            "split=train",
        ]
        assert list(rows.loc[rows["level"] == 2, "value"]) == [0.4, 0.38, 0.42, 0.9]
        by_item = overview.hits(cursor, RUN, "item_hit")
        assert list(by_item.loc[by_item["level"] == 2, "value"]) == pytest.approx([0.2, 0.19, 0.21, 0.45])

    def test_metric_names_with_dots_are_not_rankers(self, cursor: Cursor) -> None:
        rows = overview.generation(cursor, RUN)
        assert set(rows["metric"]) == {
            "validity",
            "item_hit@5.level_1",
            "item_hit@5.level_2",
            "hit@5.level_1",
            "hit@5.level_2",
            "recall@200",
        }

    def test_lights_rest_on_free_levels(self, cursor: Cursor) -> None:
        lights = {light.title: light for light in overview.lights(cursor, RUN)}
        level_1 = cursor.execute(
            "SELECT value, by_construction FROM health WHERE metric = 'utilisation' AND level = 1"
        ).fetchone()
        assert level_1 == (0.75, True)
        assert lights["Codes in use (utilisation)"].verdict == "good"
        assert "100.0 %" in lights["Codes in use (utilisation)"].value
        assert lights["Guessed SIDs exist (beam validity)"].verdict == "good"
        assert all(light.page and light.value for light in lights.values())

    def test_lights_without_measures_do_not_pretend(self, bare_cursor: Cursor) -> None:
        for light in overview.lights(bare_cursor, RUN):
            assert (light.verdict, light.value) == (None, "Not measured in this run")


class TestCodebook:
    def test_codes_search_and_page(self, cursor: Cursor) -> None:
        second = codebook.Wanted(2)
        n = codebook.count_codes(cursor, RUN, second, ())
        every = codebook.codes(cursor, RUN, second, (), 1_000, 0)
        assert len(every) == n
        pages = [codebook.codes(cursor, RUN, second, (), 5, offset) for offset in range(0, n, 5)]
        assert list(pd.concat(pages)["prefix"]) == list(every["prefix"])
        rugs = codebook.codes(cursor, RUN, codebook.Wanted(1, "RUGS"), (), 10, 0)
        assert list(rugs["top_category"]) == ["Home > Rugs"]

    @pytest.mark.parametrize("find", ["%", "_", "'; DROP TABLE codes; --"])
    def test_search_words_are_not_patterns(self, cursor: Cursor, find: str) -> None:
        assert codebook.count_codes(cursor, RUN, codebook.Wanted(2, find), ()) == 0

    def test_prefix_does_not_swallow_its_namesakes(self, cursor: Cursor) -> None:
        """'1' holds 1-..., not 10-... or 11-...."""
        of = sids(cursor)
        for prefix in ("0", "1-2", str(of["sid"].iloc[0])):
            parts = prefix.split("-")
            expected = of[[list(c[: len(parts)]) == [int(p) for p in parts] for c in of["codes"]]]
            found = codebook.items(cursor, RUN, prefix, 1_000, 0)
            assert set(found["item_id"]) == set(expected["item_id"])
            assert found["distance"].is_monotonic_increasing
            level = len(parts)
            own = expected.set_index("item_id")["distance"].map(lambda d, level=level: d[level - 1])
            np.testing.assert_allclose(found.set_index("item_id")["distance"], own.loc[found["item_id"]])

    def test_generations_count_what_the_tables_hold(self, cursor: Cursor) -> None:
        rows = codebook.generations(cursor, RUN).set_index("generation")
        held = cursor.execute(
            "SELECT 0 AS generation, sid FROM sids WHERE run_id = $run UNION ALL "
            "SELECT generation, sid FROM assigned WHERE run_id = $run", {"run": RUN}
        ).df()  # fmt: skip
        for number, row in rows.iterrows():
            so_far = held[held["generation"] <= number]
            bucket = so_far["sid"].value_counts()
            new = bucket.index.difference(held.loc[held["generation"] < number, "sid"])
            assert (row["n_items"], row["n_new_sids"]) == ((held["generation"] == number).sum(), len(new))
            assert row["largest_bucket_after"] == bucket.max()
            assert row["items_per_sid_after"] == pytest.approx(len(so_far) / len(bucket))
            assert row["shared_after"] == pytest.approx(so_far["sid"].duplicated(keep=False).mean())

    @pytest.mark.parametrize("prefix", ["", "0", "3", "3-0-0", "9"])
    def test_assigned_items_are_counted_under_their_prefix(self, cursor: Cursor, prefix: str) -> None:
        sids = [row[0] for row in cursor.execute("SELECT sid FROM assigned WHERE run_id = ?", [RUN]).fetchall()]
        wanted = [s for s in sids if not prefix or f"{s}-".startswith(f"{prefix}-")]
        assert codebook.count_assigned(cursor, RUN, prefix) == len(wanted)

    def test_assigned_items_page_without_gaps(self, cursor: Cursor) -> None:
        every = codebook.assigned(cursor, RUN, 100, 0)
        pages = [codebook.assigned(cursor, RUN, 4, offset) for offset in range(0, len(every), 4)]
        assert pd.concat(pages)["item_id"].tolist() == every["item_id"].tolist()
        assert every["generation"].is_monotonic_decreasing
        assert len(every) == codebook.count_assigned(cursor, RUN, "") > 3
        assert codebook.assigned(cursor, OTHER_RUN, 100, 0).empty

    def test_typical_items_appear_once_near_first(self, cursor: Cursor) -> None:
        rows = codebook.typical(cursor, RUN, "0", 5)
        assert rows["place"].value_counts().to_dict() == {"near": 5, "median": 5, "borderline": 5}
        assert rows["item_id"].is_unique
        assert rows["distance"].is_monotonic_increasing

    def test_mix_sums_to_one(self, cursor: Cursor) -> None:
        for field in codebook.MIXES:
            rows = codebook.mix(cursor, RUN, "0", field)
            assert rows["share"].sum() == pytest.approx(1)
            assert rows["n_items"].sum() == COUNTS[0]

    def test_tree_is_cut_by_whole_levels(self, cursor: Cursor) -> None:
        assert set(codebook.tree(cursor, RUN, "", 10_000, ())["level"]) == {1, 2, 3}
        assert set(codebook.tree(cursor, RUN, "", 20, ())["level"]) == {1, 2}
        assert set(codebook.tree(cursor, RUN, "0", 10_000, ())["prefix"].str.split("-").str[0]) == {"0"}

    def test_siblings_share_the_parent_and_are_sorted(self, cursor: Cursor) -> None:
        rows = codebook.siblings(cursor, RUN, "0-1", ())
        assert set(rows["prefix"]) == {"0-0", "0-2", "0-3"}
        assert rows["distance"].is_monotonic_increasing

    def test_queries_reaching_a_code_have_a_beam_through_it(self, cursor: Cursor) -> None:
        rows = codebook.queries_reaching(cursor, RUN, "1")
        stored = cursor.execute("SELECT n_queries FROM codes WHERE prefix = '1' AND run_id = ?", [RUN]).fetchone()
        assert stored is not None
        assert len(rows) == stored[0] > 0

    def test_residual_norms_of_all_items(self, cursor: Cursor) -> None:
        rows = codebook.residuals(cursor, RUN, "")
        norms = np.stack(sids(cursor)["residual_norms"])
        np.testing.assert_allclose(rows["median"], np.median(norms, axis=0), rtol=1e-6)
        assert list(rows["step"]) == [0, 1, 2, 3]

    def test_unknown_code_and_item(self, cursor: Cursor) -> None:
        assert codebook.code(cursor, RUN, "77") is None
        assert codebook.item(cursor, RUN, "nobody") is None


class TestCoverage:
    def test_tiers_by_cumulative_share(self) -> None:
        rows = pd.DataFrame({"category": list("abcd"), "n_items": [50, 25, 15, 10]})
        assert list(coverage.retier(rows, 0.5, 0.8)["tier"]) == ["head", "torso", "torso", "tail"]
        assert list(coverage.retier(rows, 0.95, 0.95)["tier"]) == ["head"] * 4

    def test_by_tier_adds_up(self, cursor: Cursor) -> None:
        rows = coverage.coverage(cursor, RUN)
        tiers = coverage.by_tier(rows)
        assert tiers["n_items"].sum() == N
        assert (tiers["protected"] + tiers["unprotected"] + tiers["too_small"]).sum() == len(CATEGORIES)
        for wide, narrow in zip(coverage.FUNNEL, coverage.FUNNEL[1:], strict=False):
            assert (tiers[narrow] <= tiers[wide]).all()

    def test_items_say_where_they_are_lost(self, cursor: Cursor) -> None:
        for category, n in zip(CATEGORIES, COUNTS, strict=True):
            rows = coverage.items(cursor, RUN, category, Filter(), 1_000, 0)
            assert len(rows) == n
            stored = coverage.coverage(cursor, RUN).set_index("category").loc[category]
            assert (rows["n_sharing"] == 1).sum() == stored["unshared"]
            assert (rows["n_beams"] > 0).sum() == stored["in_beam"]
            assert (rows["lost_at"] == "not lost").sum() == stored["in_top_k"]
            assert (rows["best_rank"] <= 10).sum() == stored["shown"]

    def test_counts_of_all_items_are_the_stored_ones(self, cursor: Cursor) -> None:
        stored = coverage.coverage(cursor, RUN)
        again = coverage.narrowed(stored, coverage.counted(cursor, RUN, Filter()))
        for name in (*coverage.COUNTS, "utilisation", "aliasing"):
            assert again[name].to_numpy() == pytest.approx(stored[name].to_numpy()), name
        assert (again["n_all"] == stored["n_items"]).all()

    @pytest.mark.parametrize("kind", ["seller", "brand", "price", "age"])
    def test_filters_part_the_items(self, cursor: Cursor, kind: str) -> None:
        """The parts of a dimension add up to all items, and each counts what it says."""
        bands = item_filter.bands(cursor)
        rows = bands[bands["kind"] == kind]
        parts = {
            "seller": [Filter(seller=name) for name in item_filter.names(cursor, "seller")],
            "brand": [Filter(brand=name) for name in item_filter.names(cursor, "brand")],
            "price": [Filter(price=(r.low, r.high, r.currency)) for r in rows.itertuples()],
            "age": [Filter(age=(str(r.low), str(r.high))) for r in rows.itertuples()],
        }[kind]
        assert len(parts) > 1
        counts = [coverage.counted(cursor, RUN, which)["n_items"].sum() for which in parts]
        assert sum(counts) == N
        if kind in ("price", "age"):
            assert counts == list(rows["n_items"])

    def test_codes_of_a_category(self, cursor: Cursor) -> None:
        rows = coverage.codes(cursor, RUN, "Garden > Hoses", 1)
        assert list(rows["prefix"]) == ["2"]
        assert rows["n_mine"].iloc[0] == COUNTS[2]
        assert rows["share"].iloc[0] == pytest.approx(COUNTS[2] / (COUNTS[2] + COUNTS[3]))

    def test_queries_that_should_reach_a_category(self, cursor: Cursor) -> None:
        rows = coverage.queries(cursor, RUN, "Home > Lamps", "").set_index("query_id")
        relevant = cursor.execute(
            "SELECT query_id, count(*) FROM judgments JOIN items USING (item_id) WHERE grade >= 2 AND category = ? GROUP BY 1",
            ["Home > Lamps"],
        ).fetchall()
        for query_id, n in relevant:
            assert rows.loc[query_id, "n_relevant"] == n
        own = cursor.execute("SELECT query_id FROM queries WHERE category = 'Home > Lamps'").fetchall()
        assert {q for (q,) in own} <= set(rows.index)
        assert rows["match_level"].is_monotonic_increasing

    def test_queries_through_one_code_rest_on_its_items(self, cursor: Cursor) -> None:
        under = set(codebook.items(cursor, RUN, "0-1", 1_000, 0)["item_id"])
        rows = coverage.queries(cursor, RUN, "Home > Lamps", "0-1")
        assert set(rows["item_id"]) <= under
        assert (rows["n_relevant"] > 0).all()
