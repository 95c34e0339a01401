"""The beam trie's layout, the waterfall and the exposure charts, without Streamlit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from app.charts import beams, exposure, waterfall


def nodes() -> pd.DataFrame:
    """Two levels: '1' and '2' kept, '3' and '4' pruned; below '1' one kept and one pruned, below '2' one kept."""
    rows = [
        (1, "1", None, 0.5, 0.5, 1, True, 10),
        (1, "2", None, 0.3, 0.3, 2, True, 6),
        (1, "3", None, 0.1, 0.1, 3, False, 4),
        (1, "4", None, 0.05, 0.05, 4, False, 1),
        (2, "1-0", "1", 0.4, 0.8, 1, True, 2),
        (2, "2-7", "2", 0.2, 0.66, 2, True, 1),
        (2, "1-3", "1", 0.1, 0.2, 3, False, 3),
    ]
    table = pd.DataFrame(rows, columns=["level", "prefix", "parent", "p", "step", "rank", "kept", "n_items"])
    table["log_prob"], table["step_log_prob"] = table["p"].map(math.log), table["step"].map(math.log)
    table["label"] = ["<b>bold</b>", "lamp · desk", None, "", "x", "y", "z"]
    table["mark"] = ["", "", "", "", "harmful", "", "aliased"]
    return table


def test_place_draws_all_kept_and_the_best_pruned_of_each_level() -> None:
    placed = beams.place(nodes(), pruned=1)
    assert set(placed.nodes["prefix"]) == {
        "",
        "1",
        "2",
        "3",
        "1-0",
        "2-7",
        "1-3",
    }  # '4' is the second pruned of level 1
    assert placed.rows == 4  # leaves: 1-0, 1-3, 2-7, 3


def test_place_puts_a_parent_at_the_mean_of_its_children_and_no_two_leaves_together() -> None:
    placed = beams.place(nodes(), pruned=9).nodes.set_index("prefix")["y"]
    assert placed["1"] == pytest.approx((placed["1-0"] + placed["1-3"]) / 2)
    assert placed[""] == pytest.approx(placed[["1", "2", "3", "4"]].mean())
    leaves = placed[["1-0", "1-3", "2-7", "3", "4"]]
    assert sorted(leaves) == list(range(5))


def test_trie_gives_every_node_its_prefix_and_reads_no_tags_from_labels() -> None:
    figure = beams.trie(nodes(), pruned=9)
    drawn = [p for trace in figure.data if trace.customdata is not None for p in trace.customdata]
    assert sorted(drawn) == sorted(nodes()["prefix"])
    texts = [t for trace in figure.data if trace.customdata is not None for t in trace.text]
    assert not any("<b>bold" in t for t in texts)
    assert any("×2" in t and "⚠" in t for t in texts)
    assert {trace.name for trace in figure.data if trace.name} == {"kept in the beam", "pruned"}


def test_waterfall_starts_at_the_reference_and_draws_the_score_itself() -> None:
    parts = pd.DataFrame({"name": ["a", "b"], "value": [1.0, -0.25]})
    bar = waterfall.waterfall(parts, 0.5, 9.0).data[0]
    assert list(bar.measure) == ["absolute", "relative", "relative", "absolute"]
    assert list(bar.x) == [0.5, 1.0, -0.25, 9.0]  # 9.0 is not the sum: the chart must not hide that
    assert [t[0] for t in bar.text[1:3]] == ["▲", "▼"]


def test_swap_orders_by_size() -> None:
    bar = waterfall.swap(pd.DataFrame({"name": ["a", "b", "c"], "value": [0.1, -0.5, 0.2]}), "this", "that").data[0]
    assert list(bar.y) == ["b", "c", "a"]


def test_diverging_bars_are_hollow_where_it_could_be_chance_and_intervals_are_kept() -> None:
    table = pd.DataFrame(
        {
            "value": ["up", "down"], "difference": [0.02, -0.01], "low": [0.01, -0.03], "high": [0.05, 0.01],
            "sure": [True, False],
        }
    )  # fmt: skip
    bar = exposure.diverging(table).data[0]
    assert list(bar.x) == pytest.approx([2.0, -1.0])
    assert bar.marker.color[1] == "rgba(0,0,0,0)"
    assert bar.marker.color[0] != "rgba(0,0,0,0)"
    assert list(bar.error_x.array) == pytest.approx([3.0, 2.0])
    assert list(bar.error_x.arrayminus) == pytest.approx([1.0, 2.0])
    assert list(bar.customdata) == ["up", "down"]


def test_against_leaves_out_what_a_log_axis_cannot_show() -> None:
    table = pd.DataFrame(
        {"value": ["a", "b"], "share": [0.2, 0.0], "share_without": [0.1, 0.1], "merit": [0.1, 0.3]}
    )  # fmt: skip
    figure = exposure.against(table, "merit", "Merit")
    assert [list(t.customdata) for t in figure.data if t.customdata is not None] == [["a"], ["a"]]
    assert exposure.against(table.head(0), "merit", "Merit").layout.xaxis.type == "log"


def test_names_that_are_alike_when_shortened_have_rows_of_their_own() -> None:
    """Two sellers whose names differ beyond what an axis shows are two bars."""
    names = [
        f"A shop with a long name that goes on, of {city}, in the same street as before" for city in ("Ulm", "Bonn")
    ]
    bar = exposure.moved(pd.DataFrame({"value": names, "difference": [0.01, -0.01]})).data[0]
    assert len(set(bar.y)) == 2


def test_labels_of_a_logarithmic_axis_keep_apart() -> None:
    """Shares over a little less than a power of ten: no label is nearer to the next than a twelfth of the axis."""
    table = pd.DataFrame(
        {"value": ["a", "b"], "share": [0.006, 0.05], "share_without": [0.007, 0.04], "merit": [0.005, 0.055]}
    )
    axis = exposure.against(table, "merit", "due").layout.yaxis
    steps = np.diff(np.log10(axis.tickvals))
    assert len(axis.tickvals) >= 4
    assert steps.min() >= np.log10((0.055 * 1.5) / (0.005 / 1.5)) / 12 - 1e-9
