"""What must hold of every page whatever it shows: nothing wider than the window, no label cut, nothing a reader cannot use."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

SERIOUS = ("serious", "critical")
NOT_OURS = {
    "scrollable-region-focusable": "Streamlit's own containers",
}
"""Rules of axe that Streamlit's own elements break, by the element: whatever a page of ours does."""

WIDER = """() => {
    const wide = innerWidth + 1, out = [];
    const scrolls = (e) => { for (; e && e !== document.body; e = e.parentElement) {
        const s = getComputedStyle(e); if (['auto', 'scroll', 'hidden', 'clip'].includes(s.overflowX)
            && !['stMain', 'stAppViewContainer', 'stApp'].includes(e.dataset?.testid)) return true; } return false; };
    if (document.scrollingElement.scrollWidth > wide) out.push('the document');
    for (const e of document.querySelectorAll('[data-testid="stMain"] *, [role="dialog"] *')) {
        const box = e.getBoundingClientRect();
        if (box.width && box.right > wide && e.checkVisibility() && !scrolls(e.parentElement))
            out.push(`${e.dataset.testid ?? e.tagName} ${Math.round(box.right)}: ${e.textContent.slice(0, 60)}`);
    }
    return out.slice(0, 5);
}"""
CUT = """() => {
    const out = [];
    const labels = '[data-testid="stMetricValue"] *, [data-testid="stMetricLabel"] *, [data-testid="stWidgetLabel"] p, '
        + '[data-testid="stBaseButton-segmented_control"] p, [data-testid="stBaseButton-segmented_controlActive"] p, '
        + '[data-baseweb="tab"] p, [data-testid="stBadge"], [data-testid="stPageLink-NavLink"] p';
    for (const e of document.querySelectorAll(labels)) {
        const style = getComputedStyle(e);
        if (e.checkVisibility() && style.overflowX !== 'visible' && e.scrollWidth > e.clientWidth + 1)
            out.push(`cut: ${e.textContent.slice(0, 60)}`);
    }
    for (const chart of document.querySelectorAll('[data-testid="stPlotlyChart"]')) {
        const frame = chart.getBoundingClientRect();
        if (!chart.checkVisibility() || !frame.width) continue;
        const words = [...chart.querySelectorAll('.main-svg text')].map((e) => [e.textContent.trim(), e.getBoundingClientRect()])
            .filter(([said, box]) => said && box.width);
        for (const [said, box] of words)
            if (box.left < frame.left - 2 || box.right > frame.right + 2 || box.top < frame.top - 2 || box.bottom > frame.bottom + 2)
                out.push(`outside its chart: ${said.slice(0, 60)}`);
        for (const [i, [said, a]] of words.entries())
            for (const [other, b] of words.slice(i + 1)) {
                const x = Math.min(a.right, b.right) - Math.max(a.left, b.left), y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (x > 3 && y > 3 && x * y > 0.2 * Math.min(a.width * a.height, b.width * b.height))
                    out.push(`one over the other: ${said.slice(0, 30)} | ${other.slice(0, 30)}`);
            }
    }
    for (const e of document.querySelectorAll('[data-testid="stButtonGroup"]'))
        for (const b of e.querySelectorAll('button'))
            if (e.checkVisibility() && b.getBoundingClientRect().right > e.getBoundingClientRect().right + 1)
                out.push(`cut off: ${b.textContent}`);
    return out.slice(0, 8);
}"""


def wider(page: Page) -> list[str]:
    """Elements that reach beyond the window."""
    return list(page.evaluate(WIDER))


def cut(page: Page) -> list[str]:
    """Labels that are cut, and words of charts outside their chart."""
    return list(page.evaluate(CUT))


def violations(page: Page) -> list[str]:
    """Serious and critical findings of axe-core in the page, less those of Streamlit's own making."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} ({node.get('failureSummary', '')[:160]})"
        for rule in found
        if rule["impact"] in SERIOUS and rule["id"] not in NOT_OURS
        for node in rule["nodes"][:3]
    ]
