"""The What-if page on made-up snapshots: whatever the ranker, without a run folder, imported, empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from exact_ranker import only_snapshot
from filled_snapshot import HOSTILE
from streamlit.testing.v1 import AppTest
from told import find, told

Open = Callable[..., AppTest]
LISTING, BULK, POLICY = "Listing", "Listings in bulk", "Policy"


def one(workspace: Path, query: str) -> tuple[object, ...]:
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row


def healthy(page: AppTest) -> AppTest:
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    return page


@pytest.mark.parametrize("view", [LISTING, BULK, POLICY])
def test_every_view_opens_whatever_the_snapshot(
    open_page: Open, ranked_workspace: Path, bare_workspace: Path, empty_workspace: Path, view: str
) -> None:
    for workspace in (ranked_workspace, bare_workspace, empty_workspace):
        page = healthy(open_page("what_if", workspace, **{"try": view}))
        assert page.title[0].value == "What if?"
    assert page.info, "without a run it says what is missing"


def test_a_policy_is_counted_in_the_unit_of_its_ranker(open_page: Open, ranked_workspace: Path) -> None:
    (seller,) = one(
        ranked_workspace,
        "SELECT seller FROM items WHERE seller IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1",
    )
    page = healthy(open_page("what_if", ranked_workspace, **{"try": POLICY, "of_seller": str(seller), "bonus": "0.4"}))
    (method,) = one(ranked_workspace, "SELECT ranker FROM runs WHERE method = 'dsirm' ORDER BY run_id LIMIT 1")
    slider = next(s for s in page.slider if s.key == "bonus")
    assert ("predicted grade" in slider.label) == (method == "rich")
    assert find(page, rf"^\+0\.40 on every score of “{seller}”")


def test_a_bonus_of_nothing_is_said_to_change_nothing(open_page: Open, workspace: Path) -> None:
    (seller,) = one(workspace, "SELECT seller FROM items WHERE seller IS NOT NULL LIMIT 1")
    page = healthy(open_page("what_if", workspace, **{"try": POLICY, "of_seller": str(seller), "bonus": "0.0"}))
    assert any("changes nothing" in i.value for i in page.info)
    assert not page.metric


def test_without_the_runs_folder_a_listing_says_so_and_a_policy_still_works(open_page: Open, workspace: Path) -> None:
    (query, item) = one(workspace, "SELECT query_id, item_id FROM scores WHERE rank = 2 ORDER BY ALL LIMIT 1")
    page = healthy(open_page("what_if", workspace, q=str(query), item=str(item), title="another title"))
    assert any("New queries cannot be answered" in w.value for w in page.warning)
    bulk = healthy(open_page("what_if", workspace, **{"try": BULK, "bulk": "true"}))
    assert any("New queries cannot be answered" in w.value for w in bulk.warning)


def test_an_item_without_a_query_is_offered_those_that_rank_it(open_page: Open, workspace: Path) -> None:
    (item, text, rank) = one(
        workspace, "SELECT item_id, text, rank FROM scores JOIN queries USING (query_id) WHERE run_id LIKE 'dsirm%' AND retrieved ORDER BY rank, frequency DESC LIMIT 1"
    )  # fmt: skip
    page = healthy(open_page("what_if", workspace, item=str(item)))
    offered = next(g for g in page.button_group if g.key == "ranking")
    assert f"{str(text)[:60]} (rank {rank})" in offered.options[0]


def test_stale_links_are_named_and_leave_a_usable_page(open_page: Open, workspace: Path) -> None:
    for parameters in (
        {"try": "Nothing"}, {"try": POLICY, "group": "Planets"}, {"try": POLICY, "of_seller": "Nobody"},
        {"try": BULK, "in_category": "Nowhere"},
    ):  # fmt: skip
        page = healthy(open_page("what_if", workspace, **parameters))
        assert page.warning, parameters
        assert list(parameters.values())[-1] in page.warning[0].value


def test_hostile_titles_stay_text(open_page: Open, workspace: Path) -> None:
    (item,) = one(workspace, f"SELECT item_id FROM items WHERE title = '{HOSTILE}'")
    found = one(workspace, f"SELECT query_id FROM scores WHERE item_id = '{item}' AND run_id LIKE 'dsirm%' LIMIT 1")
    page = healthy(open_page("what_if", workspace, q=str(found[0]), item=str(item)))
    assert next(t for t in page.text_area if t.key == "title").value == HOSTILE
    assert not any("<b>Bold</b>" in m.value for m in page.markdown)
    explained = healthy(open_page("explain", workspace, q=str(found[0]), item=str(item)))
    assert HOSTILE in explained.code[0].value
    assert not any("<b>Bold</b>" in m.value for m in explained.markdown)
    assert told(explained)
