"""How long the first page takes once the server is up: until Overview's heading and its first number are visible.

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


# Written down by the page itself at its next frame: asking from outside would add up to a second.
WATCH = """
const seen = window.__seen = {};
const wanted = {heading: '[data-testid="stMain"] h1', number: '[data-testid="stMetricValue"]'};
const look = () => {
    for (const [name, selector] of Object.entries(wanted))
        if (!(name in seen) && document.querySelector(selector)?.checkVisibility({opacityProperty: true}))
            seen[name] = performance.now() / 1000;
    if (Object.keys(seen).length < 2) requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def first_number(browser: Browser, server: Server) -> tuple[float, float]:
    """Seconds from the request until the heading, and until the first headline number, can be read."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(server.url, wait_until="commit")
    page.wait_for_function("'heading' in window.__seen && 'number' in window.__seen", timeout=SLOWEST)
    seen = page.evaluate("window.__seen")
    context.close()
    return float(seen["heading"]), float(seen["number"])


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
        cold = first_number(browser, server)
        wait_for_model(server)
        visits = [first_number(browser, server) for _ in range(VISITS)]
    print("| first page | heading (s) | first number (s) |\n|---|---|---|")
    print(f"| first visit after the start | {cold[0]:.2f} | {cold[1]:.2f} |")
    print(
        f"| median of {VISITS} fresh browsers | {median(v[0] for v in visits):.2f} | {median(v[1] for v in visits):.2f} |"
    )


if __name__ == "__main__":
    main()
