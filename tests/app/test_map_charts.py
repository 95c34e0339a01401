"""The map's figure: what it carries to the browser, which colours it keeps, where names fit, what a drag asks for."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from filled_snapshot import HOSTILE, RUN

from app.charts import item_map as charts
from app.components.map_look import Look, compare, strongest, told_kept
from app.queries import map as maps

BOX = (-10.0, 10.0, -10.0, 10.0)


def rows(cursor: object, colouring: str = "department") -> pd.DataFrame:
    return maps.points(cursor, RUN, 1, maps.EVERYWHERE, 1_000, colouring)


@pytest.mark.parametrize("colouring", [*maps.KINDS, *maps.AMOUNTS])
def test_every_point_can_be_identified(cursor: object, colouring: str) -> None:
    given = rows(cursor, colouring)
    marks, amount = None, None
    if colouring in maps.KINDS:
        marks = charts.marks(maps.marked_values(cursor, RUN, colouring, 1), tiers=colouring == "tier")
    else:
        amount = charts.scale(colouring, 0.0, 3.0)
    figure = charts.points(given, box=BOX, marks=marks, amount=amount)
    ids = np.concatenate([t.customdata for t in figure.data])
    assert sorted(ids[:, 1]) == sorted(given["item_id"])


def test_the_figure_is_byte_stable_and_titles_are_short_and_harmless(cursor: object) -> None:
    given = rows(cursor)
    first, second = (charts.points(given, box=BOX, titles=True) for _ in range(2))
    assert first.to_json() == second.to_json()
    (told,) = [t for trace in first.data for t in trace.text if "Bold" in t]
    assert told.startswith("&lt;b>Bold&lt;/b>")
    assert "Bold" not in charts.points(given, box=BOX).to_json(), "no titles where they are not asked for"
    long = charts.points(given.assign(title="x" * 10_000), box=BOX, titles=True)
    assert "x" * 61 not in long.to_json()


def test_a_value_keeps_its_mark_in_every_view() -> None:
    known = pd.DataFrame({"value": [f"v{n}" for n in range(21)] + ["unknown"], "label": None})
    marks = charts.marks(known)
    assert len({(m.colour, m.symbol) for m in marks.values()}) == 21
    assert "unknown" not in marks
    points = pd.DataFrame(
        {
            "item_id": list("abcd"),
            "sid": "1-1-1",
            "x": 0.0,
            "y": 0.0,
            "value": ["v0", "v8", "v8", "rare"],
            "title": "t",
            "category": "c",
        }
    )
    near = charts.points(points, box=BOX, marks=marks)
    drawn = {t.name: (t.marker.color, t.marker.symbol) for t in near.data}
    assert drawn["v0"] == (marks["v0"].colour, "circle")
    assert drawn["v8"] == (marks["v8"].colour, "square")
    assert drawn["others"][0] == charts.OTHER
    far = charts.points(pd.concat([points] * 1_000), box=BOX, marks=marks)
    assert {t.name for t in far.data} == {"v0", "others"}, "small marks: only circles are told apart"


def test_unknown_amounts_are_grey_and_apart() -> None:
    points = pd.DataFrame(
        {
            "item_id": list("ab"),
            "sid": "1",
            "x": 0.0,
            "y": 0.0,
            "value": np.float32([np.nan, 100.0]),
            "title": "t",
            "category": "c",
        }
    )
    grey, known = charts.points(points, box=BOX, amount=charts.scale("price", 10, 1000, "EUR")).data
    assert (grey.name, grey.marker.color) == ("unknown", charts.OTHER)
    assert known.marker.color[0] == pytest.approx(2)
    assert (known.marker.cmin, known.marker.cmax) == (1, 3)
    assert list(known.marker.colorbar.ticktext) == ["10", "30", "100", "300", "1,000"]


def test_density_squares_carry_their_commonest_code(cursor: object) -> None:
    given = maps.density(cursor, RUN, 2, maps.EVERYWHERE, 16)
    (squares,) = charts.density(given, box=BOX).data
    assert [c[0] for c in squares.customdata] == list(given["prefix"])
    assert f"{given['n_items'].iloc[0]:,} items" in squares.text[0]


def test_names_do_not_touch_and_the_largest_come_first() -> None:
    names = pd.DataFrame(
        {
            "label": ["tents · dome", "tent pegs", "tents · dome", "rugs", ""],
            "x": [0.0, 0.1, 8.0, 9.9, -9.0],
            "y": [0.0, 0.1, 8.0, -8.0, -9.0],
        }
    )
    kept = charts.placed(names, BOX)
    assert list(kept["name"]) == ["tents · dome", "rugs"], "one would touch, one stands already, one says nothing"
    closer = charts.placed(names.head(2), (-1.0, 1.0, -1.0, 1.0))
    assert len(closer) == 2, "a closer look has room for both"
    assert list(kept["anchor"]) == ["center", "right"], "at the border a name ends at its place"


def test_names_and_regions_are_no_traces(cursor: object) -> None:
    figure = charts.points(rows(cursor), box=BOX)
    n = len(figure.data)
    charts.name(figure, pd.DataFrame({"name": ["b"], "x": [0.0], "y": [0.0], "anchor": ["left"]}))
    charts.outline(figure, (0.0, 1.0, 0.0, 1.0))
    charts.outline(figure, (0.0, 0.0, 1.0, 0.0, 1.0, 1.0))
    charts.outline(figure, None)
    assert len(figure.data) == n
    assert [s.type for s in figure.layout.shapes] == ["rect", "path"]
    assert figure.layout.shapes[1].path == "M 0.000,0.000 L 1.000,0.000 L 1.000,1.000 Z"


def test_what_a_selection_asks_for() -> None:
    point = {"customdata": ["17-203-88", "I9"]}
    assert charts.picked({"points": [point], "box": []}, 2, 48) == ("", "17-203", "I9")
    drawn = {"points": [point], "box": [{"x": [2.0, -1.0], "y": [0.5, 0.25]}]}
    assert charts.picked(drawn, 2, 48) == ("-1.000,2.000,0.250,0.500", "", "")
    line = {"x": list(range(500)), "y": [0.5] * 500}
    region = charts.picked({"lasso": [line]}, 1, 48).region.split(",")
    assert region[:4] == ["0.000", "0.500", "11.000", "0.500"]
    assert len(region) <= 96
    assert charts.picked({}, 1, 48) == ("", "", "")


class TestLook:
    CARRIED = pd.DataFrame(
        [
            ("code", 1, "7", "Tents", 40, 0), ("code", 2, "7-1", "dome", 30, 0), ("code", 1, "8", "Rugs", 4, 100),
            ("word", None, "tent", None, 38, 2), ("word", None, "tents", None, 5, 0), ("seller", None, HOSTILE, None, 20, 5),
            ("brand", None, "Nor", None, 20, 480),
        ],
        columns=["field", "level", "value", "label", "inside", "outside"],
    ).assign(n_inside=40, n_outside=960)  # fmt: skip

    def test_what_the_choice_fixes_is_left_out(self) -> None:
        code = compare(self.CARRIED, Look("code", "7-1", "code 7-1"))
        assert set(code.loc[code["field"] == "code", "value"]) == {"8"}
        words = compare(self.CARRIED, Look("words", "TENT", "tents"))
        assert not (words["field"] == "word").any()
        assert len(compare(self.CARRIED, Look("region", "0,1,0,1", "there"))) == len(self.CARRIED)

    def test_what_stands_out_and_in_which_order(self) -> None:
        found = compare(self.CARRIED, Look("region", "0,1,0,1", "there")).set_index("value")
        assert bool(found.loc["7", "stands_out"])
        assert not found.loc["Nor", "stands_out"], "half of them here, half of them elsewhere"
        assert found.loc["tent", "beyond"] == pytest.approx(38 - 40 * 2 / 960)
        assert list(found["beyond"]) == sorted(found["beyond"], reverse=True)
        told = strongest(found.reset_index().query("stands_out"))
        assert told[0].startswith("code **7 Tents** (100.0 % of them, 0.0 % of the rest)")
        assert any("\\<b\\>" in line for line in told)

    def test_faithfulness_in_words(self) -> None:
        whole = pd.DataFrame({"kept": [0.2, 0.6], "n": [500, 500]})
        assert "fewer than on the whole map (40.0 % over 1,000)" in told_kept(
            pd.DataFrame({"kept": [0.2], "n": [40]}), whole, 15
        )
        more = told_kept(pd.DataFrame({"kept": [0.5, 0.7], "n": [50, 50]}), whole, 15)
        # standard deviation .1005 over 100 items: 1.96 x .01005
        assert "60.0 % [58.0, 62.0] %, mean over 100 measured items: more than" in more
        assert "n too small (29 measured items)" in told_kept(pd.DataFrame({"kept": [0.2], "n": [29]}), whole, 15)


def test_the_page_s_background_is_still_a_colour_that_streamlit_replaces() -> None:
    from streamlit.elements.lib.streamlit_plotly_theme import BG_COLOR, GRAY_90

    assert (charts.PAGE, charts.INK) == (BG_COLOR, GRAY_90)
    figure = charts.points(pd.DataFrame(columns=["item_id", "sid", "x", "y", "value", "title", "category"]), box=BOX)
    charts.name(figure, pd.DataFrame({"name": ["a"], "x": [0.0], "y": [0.0], "anchor": ["left"]}))
    assert json.loads(figure.to_json())["layout"]["annotations"][0]["bgcolor"] == charts.PAGE
