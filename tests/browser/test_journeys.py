"""What a person does with the dashboard, done in a real browser; looked at by pictures of every step (`visit.PICTURES`)."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from engine import pipeline
from tests.browser.conftest import Snapshot
from tests.browser.dashboard import SLOWEST, Server, serve, settle
from tests.browser.visit import Visit
from tests.conftest import Trained

UNSEEN = "quiet green ceiling fan with a remote"
TITLES = {
    "": "Overview", "codebook": "Codebook", "coverage": "Coverage", "query": "Query", "explain": "Explain",
    "sellers": "Sellers & categories", "data": "Data",
}  # fmt: skip
FIELDS = {"code": "Code", "q": "Query", "order": "Order", "value": "Find one by its name", "category": "Category"}
NUMBER = r"([+-]?\d+(?:\.\d+)?)"

# Where the items of a map lie on screen: [x, y, item id, pixels to the nearest other item], the most isolated first.
ON_SCREEN = """(wanted) => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'scattergl');
    const {xaxis, yaxis} = chart._fullLayout, at = chart.getBoundingClientRect();
    const points = chart._fullData.filter(t => t.customdata).flatMap(t => Array.from(t.x, (x, i) => [
        at.x + xaxis._offset + xaxis.d2p(x), at.y + yaxis._offset + yaxis.d2p(t.y[i]), t.customdata[i][1]]));
    const free = p => Math.min(...points.filter(q => q !== p).map(q => Math.hypot(p[0] - q[0], p[1] - q[1])));
    return points.filter(p => wanted.includes(p[2]) && p[1] > 0 && p[1] < innerHeight)
        .map(p => [...p, free(p)]).sort((a, b) => b[3] - a[3])[0];
}"""
# The middle of a bar on screen, by its category on the y axis, in the chart that has such a bar.
BAR = """(name) => {
    for (const chart of document.querySelectorAll('.js-plotly-plot'))
        for (const t of chart._fullData) {
            const i = t.type === 'bar' ? Array.from(t.customdata ?? t.y).findIndex(c => String(c) === name) : -1;
            if (i < 0) continue;
            chart.scrollIntoView({block: 'center'});
            const {xaxis, yaxis} = chart._fullLayout, at = chart.getBoundingClientRect();
            return [at.x + xaxis._offset + xaxis.d2p(t.x[i] / 2), at.y + yaxis._offset + yaxis.d2p(t.y[i])];
        }
}"""
WATERFALL = """() => {
    const chart = [...document.querySelectorAll('.js-plotly-plot')].find(c => c._fullData[0]?.type === 'waterfall');
    return Array.from(chart._fullData[0].x);
}"""


def main_text(page: Page) -> str:
    """All words of the main part, less how long something took."""
    settle(page)
    words = page.locator('[data-testid="stMain"]').inner_text()
    return re.sub(r"[\d,.]+ m?s\b", "", words)


def libraries(server: Server) -> str:
    """The files that the server's process has mapped."""
    return Path(f"/proc/{server.process.pid}/maps").read_text()


def test_overview_to_evidence(visit: Visit, snapshot: Snapshot) -> None:
    """Every page that a finding names opens with the finding's own parameters, and the way back works."""
    rows = snapshot.rows("SELECT title, page, params FROM findings WHERE member = 0 ORDER BY position LIMIT 8")
    findings: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
    for title, page, params in rows:  # one of each kind
        given = json.loads(str(params))
        findings.setdefault((str(page), *given), (str(title), given))
    assert len(findings) >= 3, "the trained marketplace has findings of several kinds"
    visit.open()
    visit.heading("Overview")
    visit.text("What should I look at first?")
    visit.see("overview")
    for (page, *_), (title, params) in findings.items():
        evidence = visit.page.get_by_role("link", name="See the evidence")
        shown = re.compile(re.escape(title).replace("@", "@\u2060?"))  # no line breaks after an @
        row = visit.page.get_by_test_id("stHorizontalBlock").filter(has_text=shown).filter(has=evidence).last
        row.get_by_role("link", name="See the evidence").click()
        visit.heading(TITLES[page])
        settle(visit.page)
        assert visit.path == page
        for name, value in params.items():
            if name in FIELDS:
                expect(visit.field(FIELDS[name])).to_have_value(value)
            elif name in ("view", "part"):
                expect(visit.page.get_by_role("tab", name=value, exact=True)).to_have_attribute("aria-selected", "true")
            elif name == "health":
                visit.text("by construction")  # the health of each level lies open
            else:  # a control that shows its usual value is left out of the address
                expect(visit.page.get_by_role("radio", name=value, exact=True)).to_be_checked()
        visit.see(f"evidence-{page}")
        assert "There is no" not in main_text(visit.page)
        visit.back_to("Overview")


def test_map_to_query(visit: Visit, snapshot: Snapshot) -> None:
    """A click on the map -> the code's card -> the item -> a query whose beams reach it."""
    reached: dict[Any, Any] = dict(
        snapshot.rows("SELECT item_id, max(match_level) FROM scores GROUP BY item_id HAVING max(match_level) > 0")
    )
    visit.open("codebook")
    visit.heading("Codebook")
    visit.see("map")
    x, y, item, free = visit.page.evaluate(ON_SCREEN, list(reached))
    assert free > 4, "no item of the map can be clicked apart from its neighbours"
    visit.page.mouse.move(x - 4, y - 4)
    visit.page.mouse.move(x, y, steps=4)
    visit.page.wait_for_timeout(200)
    visit.page.mouse.click(x, y)
    visit.expect_param("item", item)
    [(sid, title)] = snapshot.rows("SELECT sid, title FROM sids JOIN items USING (item_id) WHERE item_id = ?", item)
    code = str(sid).split("-")[0]
    assert visit.params["code"] == code
    visit.text(f"Code {code}")
    visit.text(str(title))
    visit.see("code-card")

    queries = visit.table("Queries that scored it")
    text, level = queries.column("Query")[0], queries.column("Match level")[0]
    assert int(level) == reached[item]
    queries.choose(0)
    visit.page.get_by_role("link", name="Follow “").click()
    visit.heading("Query")
    visit.text(text)
    [(prefix,)] = snapshot.rows(
        "SELECT matched_prefix FROM scores WHERE query_id = ? AND item_id = ? AND match_level > 0",
        visit.params["q"],
        item,
    )
    assert str(sid).startswith(str(prefix))
    visit.see("query-that-reaches-it")
    visit.tab("Where was it lost?")
    expect(visit.field("Target item")).to_have_value(item)
    visit.text(str(title))
    visit.see("where-was-it-lost")


def test_tree_and_table_to_item(visit: Visit, snapshot: Snapshot) -> None:
    """The same without the map: a box of the tree, a row of the table, a row of the code's items."""
    visit.open("codebook", view="Tree")
    box = visit.page.locator(".treemaplayer .slice").filter(has_text=re.compile(r"\d items$")).first
    box.locator("path").click(position={"x": 8, "y": 8})
    visit.page.wait_for_function("new URLSearchParams(location.search).get('code')")
    settle(visit.page)
    visit.text(f"Code {visit.params['code']}")
    visit.see("tree")
    visit.close_card()

    visit.tab("Table")
    codes = visit.table("Codes of level 1")
    code = codes.column("Code")[1]
    codes.choose(1)
    visit.expect_param("code", code)
    [(label,)] = snapshot.rows("SELECT label FROM codes WHERE prefix = ?", code)
    visit.text(str(label))
    visit.see("table")

    items = visit.table("All items under the code")
    title = items.column("Title")[0]
    items.choose(0)
    visit.page.wait_for_function("new URLSearchParams(location.search).get('item')")
    item = visit.params["item"]
    assert (title,) in snapshot.rows("SELECT title FROM items WHERE item_id = ?", item)
    assert (code,) in snapshot.rows("SELECT codes[1]::VARCHAR FROM sids WHERE item_id = ?", item)
    visit.text(f"Item {item}")
    visit.see("item")


def test_unseen_query_to_explanation(browser: Browser, published: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    """A text nobody asked before: says that the model warms, then beams, ranking, and the exact sum of one score."""
    assert not snapshot.rows("SELECT 1 FROM queries WHERE text = ?", UNSEEN)
    with serve(published, tmp_path / "app.log") as server:
        assert "libtorch" not in libraries(server), "the server imports torch before anybody asked for a model"
        visit = Visit(browser, server.url, "unseen_query_to_explanation")
        visit.open("query")
        visit.see("query-log")
        visit.field("Query").fill(UNSEEN)
        visit.field("Query").press("Enter")
        visit.text("The model is being loaded to answer new queries")
        visit.see("warming")
        visit.text("Generated live")
        assert "libtorch" in libraries(server), "this check no longer sees torch where it is"
        visit.text(re.compile(r"The generator bets most on \d+-\d+-\d+"))
        beams = visit.table("What each beam points at").column("SID")
        known = {sid for (sid,) in snapshot.rows("SELECT sid FROM sids")}
        assert len(set(beams)) == len(beams) >= 3
        assert set(beams) <= known
        visit.see("beams")

        visit.tab("Ranking")
        first = visit.table("Every scored item")
        assert first.column("Rank with")[:3] == ["1", "2", "3"]
        title = first.column("Title")[0]
        visit.see("ranking")
        first.choose(0)
        visit.page.get_by_role("link", name="Explain this pair").click()
        visit.heading("Explain")
        visit.text(title)
        assert visit.params["q"] == UNSEEN
        line = visit.text(re.compile("^.*reference .* contributions")).inner_text()
        found = re.search(rf"reference {NUMBER} \+ contributions {NUMBER} = {NUMBER}; score {NUMBER}", line)
        assert found, line
        reference, contributions, total, score = (float(n) for n in found.groups())
        assert reference + contributions == pytest.approx(total, abs=2e-6)
        assert total == pytest.approx(score, abs=2e-6)
        drawn = visit.page.evaluate(WATERFALL)
        assert sum(drawn[:-1]) == pytest.approx(drawn[-1], abs=1e-6)
        assert drawn[-1] == pytest.approx(score, abs=1e-6)
        visit.text(f"{score:.3f}")
        visit.see("explanation")
        visit.close()


def test_misspelt_word(visit: Visit, snapshot: Snapshot) -> None:
    """Explain says which word of the title a misspelt one is near to, which are there, and which are missing."""
    rows = snapshot.rows("SELECT item_id, title FROM stories JOIN items USING (item_id) WHERE stories.kind = 'example'")
    [(item, title)] = rows
    words = sorted({w for w in str(title).lower().split() if w.isalpha()}, key=lambda w: (-len(w), w))
    meant, there = words[:2]
    typo = meant[:4] + meant[3:]
    visit.open("explain", q=f"{typo} {there} qqzzx", item=str(item))
    visit.text("The word match, word by word")
    visit.text(re.compile(f"“{typo}” is near “{meant}” .*“{there}” is there.*“qqzzx” is missing"))
    visit.see("words")


def test_links_keep_their_query(visit: Visit, snapshot: Snapshot) -> None:
    """Between pages that both have a query, a link's own query arrives, and the address says what is shown."""
    [(query, item, text)] = snapshot.rows(
        "SELECT query_id, item_id, text FROM stories JOIN queries USING (query_id) WHERE stories.kind = 'example'"
    )
    visit.open("explain", q=str(query), item=str(item))
    visit.page.get_by_role("link", name="Beams and ranking of this query").click()
    visit.heading("Query")
    expect(visit.field("Query")).to_have_value(str(query))
    visit.text(str(text))
    visit.expect_param("q", str(query))
    visit.tab("Where was it lost?")
    expect(visit.field("Target item")).to_have_value(str(item))
    visit.see("query-of-the-pair")


def test_the_other_item_is_in_the_address(visit: Visit, snapshot: Snapshot) -> None:
    """Going from one item's explanation to another's changes the address with it."""
    [(query, item)] = snapshot.rows("SELECT query_id, item_id FROM stories WHERE kind = 'example'")
    visit.open("explain", q=str(query), item=str(item))
    visit.page.get_by_text("Explain the other item").filter(visible=True).first.click()
    expect(visit.field("Item")).not_to_have_value(str(item), timeout=SLOWEST)
    visit.expect_param("item", visit.field("Item").input_value())
    visit.see("other")


def test_seller_that_loses(visit: Visit, snapshot: Snapshot) -> None:
    """A seller that loses exposure -> the codes and queries that caused it, which add up."""
    [(seller, difference)] = snapshot.rows(
        """SELECT value, difference FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND effective_n >= 30
           ORDER BY difference LIMIT 1"""
    )
    assert isinstance(difference, float)
    assert difference < 0
    visit.open("sellers")
    visit.heading("Sellers & categories")
    visit.see("sellers")
    x, y = visit.page.evaluate(BAR, seller)
    visit.page.wait_for_timeout(300)
    x, y = visit.page.evaluate(BAR, seller)
    visit.page.mouse.move(x + 1, y)
    visit.page.wait_for_timeout(200)
    visit.page.mouse.click(x, y)
    visit.expect_param("value", str(seller))
    line = visit.text("Parts add up to").inner_text()
    found = re.search(
        rf"Parts add up to {NUMBER} pp, codes to {NUMBER} pp, queries to {NUMBER} pp; the audited change is {NUMBER} pp",
        line,
    )
    assert found, line
    assert [float(n) for n in found.groups()] == pytest.approx([100 * difference] * 4, abs=1e-4)
    assert "do not trust" not in line
    visit.text("go through SIDs")
    visit.see("causes")
    visit.tab("By query")
    queries = visit.table("By query").column("Query")
    visit.tab("By code")
    names = visit.table("By code").column("Code of what was put ahead")
    rows = [i for i, name in enumerate(names) if name[0].isdigit()]
    code = names[rows[0]].split()[0]
    page = visit.page
    visit.turn_to(visit.table("By code").follow(rows[0]))
    visit.heading("Codebook")
    assert visit.params["code"] == code
    visit.see("code-behind-it")
    visit.page.close()
    visit.page = page
    visit.tab("By query")
    visit.turn_to(visit.table("By query").follow(0))
    visit.heading("Query")
    visit.text(queries[0])
    visit.text("candidates move up")
    visit.see("query-behind-it")


def test_shared_link(visit: Visit, snapshot: Snapshot) -> None:
    """The address bar is the state: opened in a browser that was never here, it shows the same."""
    visit.open("codebook")
    visit.page.get_by_role("radio", name="2", exact=True).click()
    visit.expect_param("level", "2")
    visit.tab("Table")
    codes = visit.table("Codes of level 2")
    code = codes.column("Code")[2]
    codes.choose(2)
    visit.expect_param("code", code)
    visit.tab("Queries")
    visit.see("chosen")
    other = visit.elsewhere(visit.page.url)
    expect(other.get_by_label("Code", exact=True).and_(other.locator("input"))).to_have_value(code)
    for name in ("Table", "Queries"):
        expect(other.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    assert main_text(other) == main_text(visit.page)

    [(query, item)] = snapshot.rows("SELECT query_id, item_id FROM stories WHERE kind = 'lost'")
    visit.open("explain", q=str(query), item=str(item))
    slider = visit.page.get_by_role("slider", name="SID match level")
    slider.press("ArrowLeft" if int(slider.get_attribute("aria-valuenow") or 0) else "ArrowRight")
    visit.page.wait_for_function("new URLSearchParams(location.search).get('match')")
    visit.see("what-if")
    other = visit.elsewhere(visit.page.url)
    visit.problems and pytest.fail(str(visit.problems))
    assert main_text(other) == main_text(visit.page)


MARKUP = (
    '<img src=x onerror="window.__ran=1"><script>window.__ran=1</script>**b** :red[r] [l](javascript:window.__ran=1)'
)


@pytest.mark.parametrize(
    ("page", "params", "says"),
    [
        ("codebook", {"code": "999-999"}, "No code is called, or reads, “999-999”"),
        ("codebook", {"item": "NOBODY", "level": "9", "view": "Cellar"}, "There is no item “NOBODY” here"),
        ("codebook", {"box": "1,2,three,4"}, "There is no box “1,2,three,4” here"),
        ("coverage", {"category": "Moon > Rocks", "tier": "sky"}, "There is no category “Moon > Rocks” here"),
        ("query", {"q": "q000000000", "view": "Cellar"}, "Generated live"),
        ("explain", {"q": "{known}", "item": MARKUP}, "Nothing in the catalogue has that id or those words"),
        ("sellers", {"dimension": "planet", "value": "Nobody"}, "There is no dimension “planet” here"),
        ("data", {"file": "gone.csv", "table": "moons", "page": "-1"}, "There is no file “gone.csv” here"),
        ("", {"run": "dsirm-gone-00000000", "metric": "beauty"}, "There is no run “dsirm-gone-00000000” here"),
    ],
    ids=["code", "item", "box", "category", "query", "explain", "sellers", "data", "run"],
)  # fmt: skip
def test_bad_link(visit: Visit, snapshot: Snapshot, page: str, params: dict[str, str], says: str) -> None:
    """What a link names and this snapshot does not have is said in a sentence; the page stays usable."""
    [(known,)] = snapshot.rows("SELECT query_id FROM stories LIMIT 1")
    visit.open(
        page, **{name: value.format(known=known) if value == "{known}" else value for name, value in params.items()}
    )
    visit.heading(TITLES[page])
    expect(visit.page.get_by_text(says).filter(visible=True).first).to_be_visible(timeout=SLOWEST)
    visit.see(page or "overview")
    assert not visit.ran()


def test_bad_link_can_be_corrected(visit: Visit) -> None:
    """After the sentence the page works on: the right code gives its card, and the sentence is gone."""
    visit.open("codebook", code="999-999", view="Table")
    sentence = visit.text("No code is called, or reads, “999-999”")
    visit.field("Code").fill("0")
    visit.field("Code").press("Enter")
    visit.expect_param("code", "0")
    visit.text("Code 0")
    expect(sentence).to_be_hidden()
    visit.see("corrected")


def test_markup_in_a_query_is_text(visit: Visit) -> None:
    """A query is shown as it was written: no element of it is made, nothing of it runs."""
    visit.open("query", q=MARKUP)
    visit.text("Generated live")
    visit.text(MARKUP)
    visit.see("markup")
    assert not visit.ran()


@pytest.mark.parametrize(
    "name", ["snap-000000000000", "../../etc/passwd", "<b>x</b>"], ids=["pruned", "outside", "markup"]
)
def test_link_to_a_snapshot_that_is_gone(visit: Visit, snapshot: Snapshot, published: Path, name: str) -> None:
    """A pruned snapshot: one sentence, and one button to the current one."""
    visit.open("sellers", snapshot=name)
    visit.heading("This snapshot cannot be opened")
    visit.text(name)
    visit.see("gone")
    visit.page.get_by_role("button", name="Open the current snapshot").click()
    visit.heading("Sellers & categories")
    visit.expect_param(
        "snapshot", (published / "CURRENT").read_text().strip().removeprefix("snapshots/").removesuffix(".duckdb")
    )
    visit.see("current")


def test_unknown_page(visit: Visit) -> None:
    """A path that does not exist leads to Overview and says so."""
    visit.open("cellar")
    visit.heading("Overview")
    expect(visit.page.get_by_text("not found", exact=False).first).to_be_visible()


def test_newer_snapshot(browser: Browser, trained: Trained, tmp_path: Path) -> None:
    """Published while a page is open: the page stays on its own, says that a newer one is ready, and can change."""
    folder = tmp_path / "workspace"
    shutil.copytree(trained.workspace, folder)
    with serve(folder, tmp_path / "app.log") as server:
        visit = Visit(browser, server.url, "newer_snapshot")
        visit.page.clock.install()
        visit.open("coverage")
        visit.heading("Coverage")
        old = visit.params["snapshot"]
        before = main_text(visit.page)
        new = pipeline.publish(folder, [trained.dsirm_run])
        assert new != old
        visit.page.clock.fast_forward(61_000)  # the page looks once a minute
        notice = visit.page.get_by_text("A newer snapshot is ready.")
        expect(notice).to_be_visible(timeout=SLOWEST)
        visit.see("notice")
        assert main_text(visit.page) == before
        visit.page.get_by_role("link", name="Codebook").first.click()
        visit.heading("Codebook")
        visit.expect_param("snapshot", old)
        visit.see("goes-on")
        visit.page.get_by_role("button", name="Reload with the newer one").click()
        visit.expect_param("snapshot", new)
        expect(notice).to_be_hidden()
        visit.heading("Codebook")
        visit.see("newer")
        visit.close()
