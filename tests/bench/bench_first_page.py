"""How long every page takes once the server is up: until its heading, its first number and its first chart are visible.

python -m tests.bench.bench_first_page --workspace data/workspace

Every visit is a browser that was never here (nothing cached on its side). The first one also finds an empty cache on
the server and is reported apart; after it the server loads the live model in the background, so the others wait for that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser

from tests.browser.dashboard import SLOWEST, Server, chromium, serve

VISITS = 5
WARM_SECONDS = 120.0
PAGES = ("", "codebook", "coverage", "query", "explain", "sellers", "runs", "report", "data")
"""Their paths, Overview first; What if asks before it shows a number."""
CHARTLESS = ("", "report")
"""Draw neither chart nor table before they are asked to."""

# Written down by the page itself at its next frame: asking from outside would add up to a second. A number is any text with
# a digit; on Overview it is a headline number, not one of the example above it.
WATCH = """
const seen = window.__seen = {};
const visible = (e) => e?.checkVisibility({opacityProperty: true});
const digit = () => {
    if (location.pathname === '/') return visible(document.querySelector('[data-testid="stMetricValue"]'));
    const walk = document.createTreeWalker(document.querySelector('[data-testid="stMain"]') ?? document, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const e = walk.currentNode.parentElement;
        if (/\\d/.test(walk.currentNode.data) && !['STYLE', 'SCRIPT'].includes(e.tagName) && visible(e)) return true;
    }
};
const wanted = {
    heading: () => visible(document.querySelector('[data-testid="stMain"] h1')),
    number: digit,
    chart: () => visible(document.querySelector('.main-svg, [data-testid="stDataFrame"] canvas')),
};
const look = () => {
    for (const [name, there] of Object.entries(wanted))
        if (!(name in seen) && there()) seen[name] = performance.now() / 1000;
    if (Object.keys(seen).length < 3) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def first(browser: Browser, server: Server, path: str) -> dict[str, float]:
    """Seconds from the request until heading, first number, and first chart or table can be seen."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(f"{server.url}/{path}", wait_until="commit")
    wanted = 2 if path in CHARTLESS else 3
    page.wait_for_function(f"Object.keys(window.__seen).length >= {wanted}", timeout=SLOWEST)
    seen = page.evaluate("window.__seen")
    context.close()
    return {name: float(value) for name, value in seen.items()}


def wait_for_model(server: Server) -> None:
    """Until the server has loaded torch and its processor time stands still."""
    stat = Path(f"/proc/{server.process.pid}/stat")
    end, before, quiet = time.monotonic() + WARM_SECONDS, -1, 0
    while quiet < 4 and time.monotonic() < end:
        used = sum(int(n) for n in stat.read_text().rsplit(")", 1)[1].split()[11:13])
        quiet = quiet + 1 if used - before <= 3 else 0
        before = used
        time.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    given = parser.parse_args()
    with (
        tempfile.NamedTemporaryFile(suffix=".log") as log,
        serve(given.workspace, Path(log.name)) as server,
        chromium() as browser,
    ):
        browser.new_page().goto("about:blank")  # the browser's own start is not the dashboard's
        cold = first(browser, server, "")
        wait_for_model(server)
        print("| page | heading (s) | first number (s) | first chart or table (s) |\n|---|---|---|---|")
        print(f"| overview, first visit after the start | {cold['heading']:.2f} | {cold['number']:.2f} | – |")
        for path in PAGES:
            first(browser, server, path)  # the server has what it caches
            seen = [first(browser, server, path) for _ in range(VISITS)]
            heading, number = (median(one[name] for one in seen) for name in ("heading", "number"))
            chart = "–" if path in CHARTLESS else f"{median(one['chart'] for one in seen):.2f}"
            print(
                f"| {path or 'overview'}, median of {VISITS} fresh browsers | {heading:.2f} | {number:.2f} | {chart} |"
            )


if __name__ == "__main__":
    main()
