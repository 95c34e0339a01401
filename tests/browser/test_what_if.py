"""A listing edited, a policy tried, and the keys that walk through a ranking: in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Snapshot
from tests.browser.dashboard import SLOWEST, settle
from tests.browser.visit import Visit

ANSWERED = re.compile(r"Its SID (stays|changes).*For this query")


def a_pair(snapshot: Snapshot) -> tuple[str, str, str]:
    """text of a query, and the items that it ranks third and fourth."""
    return snapshot.rows(  # type: ignore[return-value]
        """
        SELECT q.text, a.item_id, b.item_id FROM scores a JOIN scores b USING (run_id, query_id) JOIN queries q USING (query_id)
        WHERE a.run_id LIKE 'dsirm%' AND a.rank = 3 AND b.rank = 4
          AND (SELECT count(*) FROM queries o WHERE lower(o.text) = lower(q.text)) = 1
        ORDER BY q.frequency DESC, q.query_id LIMIT 1
        """
    )[0]


def test_a_listing_is_edited_and_the_next_one_starts_from_its_own(visit: Visit, snapshot: Snapshot) -> None:
    """Explain -> what if the title were another one -> its SID and place -> another item has its own title again."""
    text, item, other = a_pair(snapshot)
    visit.open("explain", q=text, item=item)
    visit.page.get_by_role("link", name="What if the title were another one?").click()
    visit.heading("What if?")
    title = visit.page.get_by_label("Title", exact=True)
    [(own,)] = snapshot.rows("SELECT title FROM items WHERE item_id = ?", item)
    expect(title).to_have_value(str(own), timeout=SLOWEST)
    title.fill(f"{text} {own}")
    title.press("Control+Enter")
    expect(visit.page.get_by_text(ANSWERED).first).to_be_visible(timeout=4 * SLOWEST)
    visit.see("edited")
    for key in ("edited-codes", "edited-parts"):
        assert f"title = {text} {own}" in visit.export(key).head["filters"]
    assert visit.params["title"] == f"{text} {own}"
    told = visit.page.get_by_text(ANSWERED).first.inner_text().split("Answered live")[0]
    elsewhere = visit.elsewhere(visit.page.url)
    again = elsewhere.get_by_text(ANSWERED).first
    expect(again).to_be_visible(timeout=4 * SLOWEST)
    assert again.inner_text().split("Answered live")[0] == told, "the link shows what was shown"
    field = visit.field("Item")
    field.fill(other)
    field.press("Enter")
    [(theirs,)] = snapshot.rows("SELECT title FROM items WHERE item_id = ?", other)
    expect(title).to_have_value(str(theirs), timeout=SLOWEST)
    visit.text("This is the listing as it is")
    visit.see("another")


def test_a_policy_is_a_link(visit: Visit, snapshot: Snapshot) -> None:
    """A group by name, a cap: the address opened elsewhere tells the same."""
    [(seller,)] = snapshot.rows(
        "SELECT \"value\" FROM exposure WHERE dimension = 'seller' AND discount = 'log2' AND \"value\" <> '(unknown)' ORDER BY share DESC LIMIT 1"
    )
    visit.open("what-if", **{"try": "Policy"})
    visit.text("Choose whom the policy is for")
    field = visit.page.get_by_label("Sellers that the policy is for")
    field.fill(str(seller))
    field.press("Enter")
    visit.expect_param("of_seller", str(seller))
    visit.page.keyboard.press("Escape")  # the open menu hides the rest of the page from roles
    visit.page.get_by_role("radio", name="Cap in the first ten").click()
    said = visit.text(re.compile(rf"At most 2 of the first 10 places for “{re.escape(str(seller))}”"))
    visit.see("policy")
    exported = visit.export("movers")
    assert "cap" in exported.head["filters"] or "at most 2" in exported.head["filters"]
    assert abs(exported.rows["before"].sum() - 100) < 1e-6
    whole = said.inner_text()
    page = visit.elsewhere(visit.page.url)
    expect(page.get_by_text("At most 2 of the first 10 places").first).to_be_visible(timeout=SLOWEST)
    assert (
        page.locator('[data-testid="stMarkdown"]', has_text="At most 2 of the first 10")
        .first.inner_text()
        .startswith(whole[:60])
    )


def test_keys_walk_through_the_ranking(visit: Visit, snapshot: Snapshot) -> None:
    """J to the item below, K back; values that were tried for one item are not kept for the next."""
    text, item, below = a_pair(snapshot)
    visit.open("explain", q=text, item=item)
    visit.text("Keys: K goes to the item above, J to the one below.")
    settle(visit.page)
    visit.page.keyboard.press("j")
    visit.expect_param("item", below)
    visit.text(re.compile(r"^Rank 4 of"))
    visit.page.keyboard.press("k")
    visit.expect_param("item", item)
    visit.see("walked")
