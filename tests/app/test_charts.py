"""Charts of Overview, Codebook and Coverage: what they carry to the page, without Streamlit."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from filled_snapshot import HOSTILE, OTHER_RUN, RUN, N

from app import text
from app.charts import codebook, coverage, exposure, overview
from app.charts.theme import categorical, short
from app.queries import codebook as code_queries
from app.queries import coverage as coverage_queries
from app.queries import overview as overview_queries


def test_short_is_safe_in_a_plotly_label() -> None:
    assert "<" not in short(HOSTILE, 200)
    assert short("a" * 50, 10) == "a" * 9 + "…"
    assert short(None) == ""


def test_a_group_is_named_in_full_and_a_path_keeps_its_end() -> None:
    rows = pd.DataFrame(
        {
            "value": ["newest sellers (first seen 2022-10-04 to 2025-02-24)", "Home & Garden > Outdoor > Camping > Tents (large)"],
            "difference": [0.01, -0.01], "low": [0.0, -0.02], "high": [0.02, 0.0], "sure": [True, False],
        }
    )  # fmt: skip
    named = set(exposure.diverging(rows).data[0].y)
    assert "newest sellers<br>(first seen 2022-10-04<br>to 2025-02-24)" in named
    assert any(label.startswith("…") and label.endswith("Tents (large)") for label in named)


def test_an_eighth_category_is_grey() -> None:
    colours = categorical([f"c{i}" for i in range(9)])
    assert len({colours[f"c{i}"] for i in range(7)}) == 7
    assert colours["c7"] == colours["c8"]


class TestOverview:
    def test_lift_writes_n_too_small_instead_of_a_number(self, cursor: object) -> None:
        rows = overview_queries.headline(cursor, RUN).query("metric == 'auc'")
        figure = overview.lift(rows)
        assert [a.text for a in figure.layout.annotations] == [text.TOO_SMALL]
        named = [t for t in figure.data if t.name]
        assert sum(len(t.x) for t in named) == len(rows) - 1
        better = next(t for t in figure.data if t.name == "better")
        np.testing.assert_allclose(better.x, 5.0)

    def test_lift_without_a_single_number_keeps_its_lines(self, cursor: object) -> None:
        rows = overview_queries.headline(cursor, RUN).query("metric == 'auc'").assign(n=5)
        figure = overview.lift(rows)
        assert len(figure.layout.annotations) == len(rows)
        assert len(figure.data[0].y) == len(rows)

    def test_ladder_has_every_ranker_and_the_ceiling(self, cursor: object) -> None:
        rows = overview_queries.ladder(cursor, RUN, "auc", "all")
        figure = overview.ladder(rows, metric_name="AUC", ceiling=0.95, own="sid")
        assert sorted(np.concatenate([t.customdata for t in figure.data])) == sorted(rows["ranker"])
        assert any("0.950" in a.text for a in figure.layout.annotations)
        names = list(figure.layout.yaxis.ticktext)
        assert [n for n in names if n.startswith("<b>")] == [
            "<b>The paper's ordinal MLP</b>",
            "<b>Gradient boosting</b>",
        ]
        assert [n for n in names if n.endswith("●")] == ["Strong + SID match (the paper)  ●"]
        assert "a_new_ranker" in names

    def test_ladder_has_a_signal_beside_its_twin_and_says_the_difference(self, two_runs_workspace: Path) -> None:
        (path,) = (two_runs_workspace / "snapshots").glob("*.duckdb")
        with duckdb.connect(str(path), read_only=True) as connection:
            rows = overview_queries.ladder(connection, OTHER_RUN, "auc", "all")
        figure = overview.ladder(rows, metric_name="AUC", own="rich")
        lines = dict(zip(figure.layout.yaxis.ticktext, figure.layout.yaxis.tickvals, strict=True))
        where = {ranker: y for t in figure.data for ranker, y in zip(t.customdata, t.y, strict=True)}
        for name, pair in (
            ("Memory of past queries", ("memory_gbm", "memory_twin")),
            ("All SID signals  ●", ("rich", "twins")),
        ):
            assert all(abs(where[ranker] - lines[name]) < 0.5 for ranker in pair)
            assert where[pair[0]] != where[pair[1]]
        said = {a.y: a.text for a in figure.layout.annotations}
        assert said[lines["Memory of past queries"]] == "+2.00 pp · twin +1.00 pp"
        assert said[lines["Strong, no SIDs: + what the item itself tells"]] == "baseline"
        assert min(lines.values()) > min(figure.layout.yaxis.range)

    def test_ladder_of_imported_scores(self) -> None:
        given = pd.DataFrame(
            {"ranker": ["given_without", "given"], "family": [None, None], "value": [0.7, 0.8], "low": [0.6, 0.7],
             "high": [0.8, 0.9], "difference": [np.nan, 0.1], "difference_low": [np.nan, 0.0], "difference_high": [np.nan, 0.2]}
        )  # fmt: skip
        names = overview.ladder(given, metric_name="AUC", own="given").layout.yaxis.ticktext
        assert list(names) == ["<b>Other rankers</b>", "Imported, without SIDs", "Imported, with SIDs  ●"]

    def test_hits_leave_out_what_rests_on_too_few_queries(self, cursor: object) -> None:
        rows = overview_queries.hits(cursor, RUN, "hit")
        figure = overview.hits(rows.assign(n=rows["n"].where(rows["segment"] != "new", 5)))
        sizes = {t.name: len(t.x) for t in figure.data}
        assert sizes["test queries that are new"] == 0
        assert sizes["training queries, as trained on"] == 2


class TestTree:
    @pytest.mark.parametrize("size", ["n_items", "exposure"])
    @pytest.mark.parametrize("root", ["", "0"])
    def test_values_add_up_to_the_root(self, cursor: object, size: str, root: str) -> None:
        rows = code_queries.tree(cursor, RUN, root, 1_000, ())
        boxes = codebook.tree(rows, root, size, "purity", ["Home", "Garden"]).data[0]
        top = rows[rows["level"] == rows["level"].min()]
        assert sum(boxes.values) == pytest.approx(top[size].sum())
        assert set(boxes.parents) <= {"", *boxes.ids}

    def test_a_department_keeps_its_colour_wherever_the_tree_is_opened(self, cursor: object) -> None:
        colours: dict[str, set[str]] = {}
        legends = []
        for root in ("", "0", "2"):
            rows = code_queries.tree(cursor, RUN, root, 1_000, ())
            figure = codebook.tree(rows, root, "n_items", "department", ["Home", "Garden"])
            for department, colour in zip(rows["department"], figure.data[0].marker.colors, strict=True):
                colours.setdefault(department, set()).add(colour)
            legends.append([(entry.name, entry.marker.color) for entry in figure.data[1:]])
        assert sorted(len(seen) for seen in colours.values()) == [1, 1]
        assert [[name for name, _ in legend] for legend in legends] == [["Home", "Garden"], ["Home"], ["Garden"]]
        assert all(colours[name] == {colour} for legend in legends for name, colour in legend)

    def test_change_of_exposure_is_grey_at_zero_on_a_symmetric_scale(self, cursor: object) -> None:
        rows = code_queries.tree(cursor, RUN, "", 1_000, ())
        marker = codebook.tree(rows, "", "n_items", "exposure change", []).data[0].marker
        assert marker.cmin == -marker.cmax < 0
        np.testing.assert_allclose(marker.colors, 100 * rows["exposure_change"])

    def test_hostile_names_are_text(self, cursor: object) -> None:
        rows = code_queries.tree(cursor, RUN, "", 10, (("0", "<b>x</b>" * 2_000),))
        label = codebook.tree(rows, "", "n_items", "department", []).data[0].labels[list(rows["prefix"]).index("0")]
        assert label.startswith("<b>&lt;b>x&lt;")
        assert len(label) < 200


def test_mix_folds_the_rest_into_others() -> None:
    rows = pd.DataFrame({"value": [f"v{i}" for i in range(12)], "n_items": 12 - np.arange(12)})
    rows["share"] = rows["n_items"] / rows["n_items"].sum()
    figure = codebook.mix(rows, most=8)
    assert sum(figure.data[0].x) == pytest.approx(100)
    assert "4 others" in figure.layout.yaxis.ticktext


def test_histogram_counts_every_known_value() -> None:
    values = pd.Series([1.0, 2.0, 2.0, np.nan, 10.0])
    assert sum(codebook.histogram(values, x="Price").data[0].y) == 4


class TestCoverage:
    def test_lorenz_ends_at_everything(self, cursor: object) -> None:
        use = coverage_queries.code_use(cursor, RUN)
        figure = coverage.lorenz_curves(use)
        for curve in figure.data:
            assert (curve.x[0], curve.y[0]) == (0, 0)
            assert (curve.x[-1], curve.y[-1]) == pytest.approx((100, 100))
        assert len(figure.data) == 1 + 3

    def test_gini_counts_unused_codes(self) -> None:
        use = pd.DataFrame({"level": 1, "prefix": ["0", "1"], "n_items": [10, 0]})
        assert coverage.ginis(use) == {1: pytest.approx(0.5)}

    def test_gaps_shows_every_category_once(self, cursor: object) -> None:
        rows = coverage_queries.coverage(cursor, RUN)
        figure = coverage.gaps(rows)
        assert sorted(c for t in figure.data for c in t.customdata) == sorted(rows["category"])

    def test_a_departments_lift_stands_once_and_under_its_own_name(self) -> None:
        rows = pd.DataFrame(
            {
                "category": ["Home > Lamps", "Home > Rugs", "Home > Beds", "Garden > Tools"], "department": ["Home"] * 3 + ["Garden"],
                "tier": "tail", "n_items": [9, 5, 7, 4], "auc_lift": [0.01, *[np.nan] * 3], "low": [0.0, *[np.nan] * 3],
                "high": [0.02, *[np.nan] * 3], "n_queries": [20, 2, 2, 3], "pooled_lift": [-0.02] * 3 + [np.nan],
                "pooled_low": [-0.03] * 3 + [np.nan], "pooled_high": [0.01] * 3 + [np.nan], "pooled_n": [24] * 3 + [3],
            }
        )  # fmt: skip
        kept = coverage.told_lifts(rows)
        assert list(kept["name"]) == ["all of Home", "Lamps"]
        assert list(kept["category"]) == ["Home > Rugs", "Home > Lamps"]
        figure = coverage.lifts(kept)
        assert list(figure.layout.yaxis.ticktext) == ["Lamps (20)", "all of Home (24)"]

    def test_the_fullest_codes_are_counted_with_the_unused(self) -> None:
        use = pd.DataFrame({"level": 1, "prefix": [str(i) for i in range(10)], "n_items": [40, *[10] * 6, 0, 0, 0]})
        assert coverage.fullest(use) == {1: (1, 10, 0.4)}

    def test_funnel_starts_at_every_item_with_a_sid(self, cursor: object) -> None:
        tiers = coverage_queries.by_tier(coverage_queries.coverage(cursor, RUN))
        figure = coverage.funnel(tiers)
        assert sum(tiers["n_items"]) == N
        assert all(bars.x[0] == pytest.approx(100) for bars in figure.data)
