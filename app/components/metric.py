"""Single numbers with their interval, and health lights with words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import text
from app.components.links import link
from app.components.states import defined

_LIGHTS = {
    "good": ("green", ":material/check_circle:", "Good"),
    "warn": ("orange", ":material/error:", "Watch"),
    "bad": ("red", ":material/cancel:", "Poor"),
    "info": ("gray", ":material/info:", "For information"),
}


def metric_card(
    label: str,
    value: float | None,
    *,
    low: float | None = None,
    high: float | None = None,
    n: float | None = None,
    unit: str = "queries",
    form: str = "number",
    define: str = "",
    least: int = text.LEAST_QUERIES,
    delta: str | None = None,
    note: str = "",
) -> None:
    """A number, its 95 % interval and n; 'n too small' in its place when it rests on fewer than `least`.

    `form`: 'number' (.xxx), 'percent' (one decimal), 'points' (signed percentage points), 'count'.
    """
    definition = defined(define)
    shown = text.estimate(value, n, form=form, least=least)
    st.metric(text.escape(label), shown, delta=delta, help=definition or None, border=True, delta_arrow="off")
    parts = []
    if shown != text.TOO_SMALL and low is not None and high is not None and low == low and high == high:
        parts.append(f"95 % interval {text.interval(low, high, form=form)}")
    if n is not None and n == n:
        parts.append(f"n = {int(n):,} {unit}")
    if note:
        parts.append(note)
    if parts:
        st.caption(text.escape(" · ".join(parts)))


def verdict_badge(verdict: str | None, word: str | None = None) -> None:
    """Good, Watch, Poor or For information (or a word of the page's own), an icon and a colour."""
    colour, icon, usual = _LIGHTS.get(verdict or "info", _LIGHTS["info"])
    st.badge(text.escape(word or usual), icon=icon, color=colour)


_SEVERITIES = {
    "act": ("red", ":material/flag:"),
    "watch": ("orange", ":material/visibility:"),
    "note": ("gray", ":material/info:"),
    "unknown": ("gray", ":material/question_mark:"),
    "good": ("green", ":material/check_circle:"),
}


def severity_badge(severity: str) -> None:
    """The severity of a finding: a word, an icon and a colour."""
    colour, icon = _SEVERITIES[severity]
    st.badge(text.SEVERITY_NAMES[severity], icon=icon, color=colour)


def health_light(
    title: str,
    verdict: str | None,
    *,
    value: str,
    threshold: str,
    page: str,
    params: Mapping[str, Any] | None = None,
    label: str = "See why",
    define: str = "",
) -> None:
    """One light: verdict in words, the value, the threshold it was held against, and the page that explains it."""
    with st.container(border=True, height="stretch", gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{text.escape(title)}**", help=defined(define) or None)
            verdict_badge(verdict)
        st.markdown(text.escape(value))
        st.caption(text.escape(threshold))
        link(page, label, params)
