"""Pages of runs whose catalogue nobody judged: every page opens, shows what there is, and says why the rest is empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from test_imported_pages import VIEWS, said

from tests.unjudged import KINDS, write_unjudged

Open = Callable[..., AppTest]
JUDGMENTS = "No judgments: relevance is not ranked. Add judgments (query, item_id, grade) and ingest again."
QUERIES = "No query leads to an item: SIDs are learnt from the items alone"


@pytest.fixture(scope="module", params=KINDS)
def unjudged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    from engine import pipeline
    from engine.config import preset
    from engine.datasets.ingest import ingest

    folder = tmp_path_factory.mktemp("unjudged")
    workspace = folder / "ws"
    catalogue = ingest(write_unjudged(folder / "files", request.param), workspace).catalogue
    run = pipeline.train(workspace, catalogue.fingerprint, preset("tiny"))
    pipeline.project(workspace, run.run_id)
    pipeline.publish(workspace)
    return request.param, workspace


@pytest.mark.parametrize("view", VIEWS)
def test_every_page_opens_and_says_why_it_is_empty(open_page: Open, unjudged: tuple[str, Path], view: str) -> None:
    kind, workspace = unjudged
    page = open_page(view, workspace)
    words = said(page)
    assert JUDGMENTS in words
    assert (QUERIES in words) == (kind == "items")
    assert "imported" not in words
    assert "nan" not in words.lower().split()


def test_overview_shows_what_there_is(open_page: Open, unjudged: tuple[str, Path]) -> None:
    page = open_page("overview", unjudged[1])
    words = said(page)
    assert "AUC" not in words
    assert "12 items" in words
    assert next((m.label, m.value) for m in page.metric) == ("Items with a SID", "12")
    assert "Codes in use (utilisation)" in words
    assert not page.get("plotly_chart")


def test_coverage_asks_for_categories(open_page: Open, unjudged: tuple[str, Path]) -> None:
    kind, workspace = unjudged
    words = said(open_page("coverage", workspace))
    assert ("No categories: coverage and purity are told by category" in words) == (kind != "categories")


@pytest.mark.parametrize("view", ["Map", "Tree", "Table", "Shared SIDs"])
def test_codebook_views(open_page: Open, unjudged: tuple[str, Path], view: str) -> None:
    words = said(open_page("codebook", unjudged[1], view=view, code="0"))
    assert "Code **0**, level 1" in words
    assert "still being computed" not in words


@pytest.mark.parametrize("view", ["Beams", "Ranking", "Where was it lost?"])
def test_a_query_has_beams_and_the_items_under_them(open_page: Open, unjudged: tuple[str, Path], view: str) -> None:
    kind, workspace = unjudged
    if kind == "items":
        return
    page = open_page("query", workspace, q={"categories": "kitchen", "log": "mug"}[kind], view=view)
    words = said(page)
    if view == "Beams":
        assert "The generator bets most on" in words
    else:
        assert words.count(JUDGMENTS) == 2  # at the head of the page, and where the ranking would be
    if view == "Ranking":
        assert "Items under the beams" in words
        assert len(page.dataframe[0].value)
