"""The map by mouse: a box and a lasso, what is over-represented inside, exports, zoom, links; and the same without a mouse."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import settle
from tests.browser.visit import Visit

# The chart whose first trace is WebGL, and where a place of the map lies on screen.
PLACE = """([x, y]) => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'scattergl');
    chart.scrollIntoView({block: 'center'});
    const {xaxis, yaxis} = chart._fullLayout, at = chart.getBoundingClientRect();
    return [at.x + xaxis._offset + xaxis.d2p(x), at.y + yaxis._offset + yaxis.d2p(y)];
}"""
RANGE = """() => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'scattergl');
    return [...chart._fullLayout.xaxis.range, ...chart._fullLayout.yaxis.range];
}"""
NOTES = """() => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'scattergl');
    return chart._fullLayout.annotations.map(a => a.text);
}"""


def drag(visit: Visit, corners: list[tuple[float, float]]) -> None:
    """Press at the first place of the map, and move over the others."""
    visit.page.evaluate(PLACE, list(corners[0]))
    visit.page.wait_for_timeout(400)
    places = [visit.page.evaluate(PLACE, list(corner)) for corner in corners]
    visit.page.mouse.move(*places[0])
    visit.page.mouse.down()
    for place in places[1:]:
        visit.page.mouse.move(*place, steps=6)
    visit.page.mouse.up()
    visit.page.wait_for_function("new URLSearchParams(location.search).get('sel')")
    settle(visit.page)


@pytest.fixture
def corner(snapshot: Snapshot) -> tuple[float, float, float, float]:
    """A box around the larger part of the map: its lowest sixth of either side is left out."""
    [row] = snapshot.rows(
        "SELECT min(x), max(x), min(y), max(y) FROM projection WHERE run_id IN (SELECT default_run FROM snapshot)"
    )
    x0, x1, y0, y1 = (float(v) for v in row)
    return x0 + (x1 - x0) / 6, x1, y0 + (y1 - y0) / 6, y1


def inside(snapshot: Snapshot, sel: str) -> set[str]:
    x0, x1, y0, y1 = (float(v) for v in sel.split(","))
    found = snapshot.rows(
        "SELECT item_id FROM projection WHERE x BETWEEN ? AND ? AND y BETWEEN ? AND ? AND run_id IN (SELECT default_run FROM snapshot)",
        x0, x1, y0, y1,
    )  # fmt: skip
    return {str(item) for (item,) in found}


def test_a_box_drawn_by_mouse(visit: Visit, snapshot: Snapshot, corner: tuple[float, float, float, float]) -> None:
    """Box -> count, faithfulness, enrichment and items, read back from their exports; zoom; the link elsewhere; clear."""
    visit.open("codebook", mouse="draw a box")
    x0, x1, y0, y1 = corner
    drag(visit, [(x0, y0), (x1, y1)])
    chosen = inside(snapshot, visit.params["sel"])
    assert len(chosen) > 10
    visit.text("A closer look at the drawn region")
    visit.text(re.compile(rf"^{len(chosen):,} items$"))
    visit.text(re.compile("Faithfulness here: of an item's"))
    visit.see("box")
    rows = visit.export("map-rows").rows
    assert set(rows["item_id"]) == chosen
    if visit.page.locator(".st-key-csv-map-enriched").count():
        carried = visit.export("map-enriched").rows
        sellers = carried[carried["field"] == "seller"]
        for row in sellers.to_dict("records"):
            [(whole,)] = snapshot.rows("SELECT count(*) FROM items WHERE seller = ?", row["value"])
            assert row["inside"] + row["outside"] == whole

    before = visit.page.evaluate(RANGE)
    visit.page.get_by_role("button", name="Zoom to the drawn region").click()
    visit.page.wait_for_function("new URLSearchParams(location.search).get('box')")
    settle(visit.page)
    after = visit.page.evaluate(RANGE)
    assert after[1] - after[0] < before[1] - before[0]
    visit.see("zoomed")

    other = visit.elsewhere(visit.page.url)
    expect(other.get_by_text("A closer look at the drawn region").first).to_be_visible()
    visit.page.get_by_role("button", name="Zoom out").click()
    visit.page.wait_for_function("!new URLSearchParams(location.search).get('box')")
    visit.page.get_by_role("button", name="Clear the drawn region").click()
    visit.page.wait_for_function("!new URLSearchParams(location.search).get('sel')")
    settle(visit.page)
    visit.text("Draw a box or a lasso")
    visit.see("cleared")


def test_a_lasso_drawn_by_mouse(visit: Visit, corner: tuple[float, float, float, float]) -> None:
    """A triangle is kept in the address as its corners, and holds no more than its box."""
    visit.open("codebook", mouse="draw a lasso")
    x0, x1, y0, y1 = corner
    drag(visit, [(x0, y0), (x1, y0), ((x0 + x1) / 2, y1), (x0, y0)])
    numbers = visit.params["sel"].split(",")
    assert len(numbers) >= 6
    visit.text("A closer look at the drawn region")
    rows = visit.export("map-rows").rows
    for row in rows.to_dict("records"):
        along = (row["x"] - x0) / (x1 - x0)
        roof = y0 + (y1 - y0) * (1 - abs(2 * along - 1))
        assert row["y"] <= roof + 0.1 * (y1 - y0)
    visit.see("lasso")


def test_words_and_a_query_without_a_mouse(visit: Visit, snapshot: Snapshot) -> None:
    """Items lit up and a query drawn by keyboard; every mark is in a table as well, and a row chooses its item."""
    visit.open("codebook")
    assert visit.page.evaluate(NOTES), "clusters have names"
    [(brand,)] = snapshot.rows(
        "SELECT brand FROM items WHERE brand IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
    )
    visit.field("Light up items").fill(str(brand))
    visit.field("Light up items").press("Enter")
    visit.expect_param("lit", str(brand))
    [(n,)] = snapshot.rows(
        "SELECT count(*) FROM items WHERE contains(lower(concat_ws(' ', title, brand, seller, category)), lower(?))",
        brand,
    )
    visit.text(re.compile(rf"^{n:,} items carry"))
    assert len(visit.export("map-rows").rows) == n
    visit.see("lit")

    [(query,)] = snapshot.rows(
        """SELECT any_value(text) FROM queries JOIN beams USING (query_id) WHERE run_id IN (SELECT default_run FROM snapshot)
           AND text IN (SELECT text FROM queries GROUP BY 1 HAVING count(*) = 1) GROUP BY query_id ORDER BY query_id LIMIT 1"""
    )
    visit.field("Draw a query").fill(str(query))
    visit.field("Draw a query").press("Enter")
    visit.expect_param("mapq", str(query))
    visit.text(re.compile("lie under the SIDs of its beams"))
    told = visit.export("map-query").rows
    assert told["beam"].notna().any()
    item = visit.table("Items of the drawn query").column("Item")[0]
    visit.see("query")
    visit.table("Items of the drawn query").choose(0)
    visit.expect_param("item", item)
    visit.see("item")


def test_a_value_keeps_its_colour_when_zoomed(visit: Visit, snapshot: Snapshot) -> None:
    """The colour of every department in a zoomed view is its colour on the whole map."""
    colours = """() => {
        const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'scattergl');
        return Object.fromEntries(chart._fullData.filter(t => t.marker).map(t => [t.name, t.marker.color]));
    }"""
    visit.open("codebook", colour="department")
    whole = visit.page.evaluate(colours)
    [(x, y)] = snapshot.rows("SELECT median(x), median(y) FROM projection")
    box = f"{float(x) - 2:.2f},{float(x) + 2:.2f},{float(y) - 2:.2f},{float(y) + 2:.2f}"
    visit.page.goto(f"{visit.page.url.split('?')[0]}?{urlencode({'box': box})}")
    settle(visit.page)
    near = visit.page.evaluate(colours)
    assert near
    assert {name: colour for name, colour in near.items() if name in whole} == {
        name: whole[name] for name in near if name in whole
    }
    visit.see("near")
