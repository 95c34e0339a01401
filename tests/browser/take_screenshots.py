"""Pictures of every page for the documentation, light and dark, from a published workspace.

python -m tests.browser.take_screenshots --workspace data/workspace
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser

from engine.errors import SnapshotError
from engine.store.snapshot import open_snapshot
from tests.browser.dashboard import ROOT, SLOWEST, chromium, serve, settle

OUT = ROOT / "docs" / "screenshots"
SIZE = (1440, 1000)
MOST_BYTES = 400_000
THEMES = ("light", "dark")


def states(workspace: Path) -> dict[str, dict[str, str]]:
    """What each page shows: the run's own story of a query that won, its code, and what its findings name."""
    snapshot = open_snapshot(workspace)
    try:
        cursor = snapshot.cursor()
        story = cursor.execute(
            """SELECT query_id, item_id FROM stories WHERE item_id IS NOT NULL
               ORDER BY kind = 'won' DESC, kind LIMIT 1"""
        ).fetchone()
        loser = cursor.execute(
            """SELECT value FROM exposure WHERE dimension = 'seller' AND discount = 'log2'
               ORDER BY difference, value LIMIT 1"""
        ).fetchone()
        category = cursor.execute("SELECT category FROM categories ORDER BY n_items, category LIMIT 1").fetchone()
    finally:
        snapshot.close()
    query, item = story or ("", "")
    found = {
        "overview": {},
        "codebook": {},
        "coverage": {"category": category[0] if category else ""},
        "query": {"q": query, "view": "Ranking"},
        "explain": {"q": query, "item": item},
        "what-if": {"try": "Policy", "of_seller": loser[0] if loser else ""},
        "sellers": {"dimension": "seller", "value": loser[0] if loser else ""},
        "data": {},
    }
    return {page: {k: v for k, v in params.items() if v} for page, params in found.items()}


def picture(browser: Browser, url: str, page_name: str, params: Mapping[str, str], theme: str, height: int) -> bytes:
    """One page as PNG, once everything on it is drawn."""
    context = browser.new_context(
        viewport={"width": SIZE[0], "height": height}, color_scheme="dark" if theme == "dark" else "light"
    )
    try:
        page = context.new_page()
        page.set_default_timeout(SLOWEST)
        path = "" if page_name == "overview" else page_name
        page.goto(f"{url}/{path}?{urlencode(params)}")
        settle(page)
        page.evaluate("document.fonts.ready")
        return page.screenshot(animations="disabled")
    finally:
        context.close()


def smaller(png: bytes) -> bytes:
    """The same picture, compressed as far as it goes; with a palette of 256 colours only where that is not enough."""
    plain = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    plain.save(out, "PNG", optimize=True)
    if out.tell() >= MOST_BYTES:  # a palette merges colours that a legend keeps apart
        out = io.BytesIO()
        plain.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=ROOT / "data" / "workspace")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--height", type=int, default=SIZE[1], help="of the window; larger shows more of a long page")
    parser.add_argument("--page", action="append", help="only this page (may be given again)")
    given = parser.parse_args()
    try:
        shown = states(given.workspace)
    except SnapshotError as error:
        parser.exit(1, f"{error}\n")
    given.out.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        serve(given.workspace, Path(log.name)) as server,
        chromium() as browser,
    ):
        for name, params in shown.items():
            for theme in THEMES:
                if given.page and name not in given.page:
                    continue
                data = smaller(picture(browser, server.url, name, params, theme, given.height))
                path = given.out / f"{name}-{theme}.png"
                path.write_bytes(data)
                note = "" if len(data) < MOST_BYTES else f"  larger than {MOST_BYTES // 1000} KB"
                sys.stdout.write(f"{path}  {len(data) // 1000} KB{note}\n")


if __name__ == "__main__":
    main()
