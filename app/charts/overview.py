"""The Overview's charts: lift per segment and the ladder of rankers, points with their intervals."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from app import rankers, text
from app.charts.theme import ACCENT, GAIN, LOSS, NEUTRAL, style

SEGMENT_NAMES = {
    "all": "All test queries",
    "seen": "Seen queries",
    "new": "New queries",
    "tier=head": "Head queries",
    "tier=torso": "Torso queries",
    "tier=tail": "Tail queries",
    "category_tier=head": "Head categories",
    "category_tier=torso": "Torso categories",
    "category_tier=tail": "Tail categories",
}


def _errors(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "thickness": 2,
        "width": 4,
    }


def lift(rows: pd.DataFrame) -> go.Figure:
    """Difference with minus without SIDs per segment, in points (100 x), with 95 % intervals.

    `rows`: segment, difference, low, high, n. Segments with too few queries say so instead of showing a number.
    """
    rows = rows.iloc[::-1].reset_index(drop=True)
    labels = [f"{SEGMENT_NAMES[s]} (n = {int(n):,})" for s, n in zip(rows["segment"], rows["n"], strict=True)]
    figure = go.Figure()
    # every segment keeps its line, also where none has a number
    figure.add_scatter(
        x=[0] * len(labels), y=labels, mode="markers", marker={"opacity": 0}, hoverinfo="skip", showlegend=False
    )
    big = (rows["n"] >= text.LEAST_QUERIES).to_numpy()
    groups = {
        ("better", GAIN, "circle"): big & (rows["low"] > 0).to_numpy(),
        ("worse", LOSS, "diamond"): big & (rows["high"] < 0).to_numpy(),
        ("not separable from zero", NEUTRAL, "circle-open"): big
        & ~(rows["low"] > 0).to_numpy()
        & ~(rows["high"] < 0).to_numpy(),
    }
    for (name, colour, symbol), mask in groups.items():
        if not mask.any():
            continue
        part = 100 * rows.loc[mask, ["difference", "low", "high"]]
        figure.add_scatter(
            x=part["difference"],
            y=[labels[i] for i in rows.index[mask]],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 11, "symbol": symbol, "line": {"width": 2, "color": colour}},
            error_x=_errors(part["difference"], part["low"], part["high"]) | {"color": colour},
            hovertemplate="%{y}<br>%{x:+.2f} points<extra></extra>",
        )
    for i in rows.index[~big]:
        figure.add_annotation(x=0, y=labels[i], text=text.TOO_SMALL, showarrow=False, xanchor="left", xshift=6)
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    style(figure, height=120 + 30 * len(rows), x="Difference, points (1/100)", legend=True)
    figure.update_yaxes(categoryorder="array", categoryarray=labels, showgrid=False)
    return figure


KINDS = {
    "SIDs": ("with SIDs", ACCENT, "circle"),
    "twin": ("dense twin: the same idea without SIDs", LOSS, "diamond-open"),
    "baseline": ("baseline: everything but SIDs", NEUTRAL, "square"),
    "check": ("check: shuffled SIDs, naive training", NEUTRAL, "x-thin-open"),
    "other": ("simpler", NEUTRAL, "circle-open"),
}
"""Marks of the ladder: name, colour, symbol."""


def ladder(rows: pd.DataFrame, *, metric_name: str, ceiling: float | None = None, own: str | None = None) -> go.Figure:
    """Each ranker's metric with its 95 % interval, in two families, a signal and its dense twin on one line; on the right
    the paired difference from the baseline of the family, whose value is the dotted line; the ceiling is dashed.

    `rows`: ranker, family, value, low, high, difference, in the order of the ladder. `own` is the run's own ranker.
    """
    figure, height = go.Figure(), 0
    ticks: dict[int, str] = {}
    marks: dict[str, list[dict[Hashable, Any]]] = {name: [] for name in KINDS}
    for family, group in rows.groupby(rows["family"].fillna("").replace("", _before(rows)), sort=False):
        ticks[height] = f"<b>{rankers.LEARNER_NAMES.get(family, 'Other rankers')}</b>"
        first = height = height - 1
        for name, members in group.groupby(group["ranker"].map(rankers.line), sort=False):
            ticks[height] = _line_name(str(name), members, own)
            for row in members.to_dict("records"):
                kind = rankers.kind(row["ranker"])
                aside = 0.0 if len(members) == 1 else 0.2 if kind == "SIDs" else -0.2
                marks[kind].append({**row, "y": height + aside})
            _difference(figure, members, height)
            height -= 1
        baseline = group.loc[group["ranker"].map(rankers.kind) == "baseline", "value"]
        if len(baseline):
            figure.add_shape(
                type="line", x0=baseline.iloc[0], x1=baseline.iloc[0], y0=first + 0.5, y1=height + 0.5, layer="below",
                line={"color": NEUTRAL, "width": 1, "dash": "dot"},
            )  # fmt: skip
    for name, found in marks.items():
        if not found:
            continue
        part, (label, colour, symbol) = pd.DataFrame(found), KINDS[name]
        figure.add_scatter(
            x=part["value"], y=part["y"], mode="markers", name=label,
            marker={"color": colour, "size": 10, "symbol": symbol, "line": {"width": 2, "color": colour}},
            error_x=_errors(part["value"], part["low"], part["high"]) | {"color": colour, "width": 3},
            customdata=part["ranker"], text=[_hover(row) for row in part.to_dict("records")],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    if ceiling is not None:
        figure.add_vline(x=ceiling, line={"color": LOSS, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=ceiling, y=0, text=f"ceiling {ceiling:.3f}", showarrow=False, xanchor="right", xshift=-4,
        )  # fmt: skip
    style(figure, height=110 + 32 * len(ticks), x=metric_name, legend=True)
    figure.update_layout(margin={"r": 190})
    figure.add_annotation(
        text="minus the baseline", x=1, xref="paper", xanchor="left", xshift=8, y=0, showarrow=False,
        font={"size": 12, "color": NEUTRAL},
    )  # fmt: skip
    figure.update_yaxes(
        tickvals=list(ticks), ticktext=list(ticks.values()), range=[height + 0.2, 0.7], showgrid=False, zeroline=False
    )
    return figure


def _before(rows: pd.DataFrame) -> str:
    """The family that rankers without a learner are drawn with: the first one."""
    known = rows["family"].dropna()
    return str(known.iloc[0]) if len(known) else "other"


def _line_name(name: str, members: pd.DataFrame, own: str | None) -> str:
    signal = name.removesuffix("_gbm")
    words = rankers.SIGNAL_NAMES.get(signal, rankers.ranker_name(name))
    if len(members) == 1:
        words = rankers.ranker_name(str(members["ranker"].iloc[0]))
    return f"{words}  ●" if own in set(members["ranker"]) else words


def _difference(figure: go.Figure, members: pd.DataFrame, y: float) -> None:
    """The difference from the baseline in figures, beside the line."""
    known = members[members["difference"].notna()]
    parts = [
        f"{'twin ' if len(members) > 1 and rankers.kind(r) == 'twin' else ''}{text.number(d, 'points')}"
        for r, d in zip(known["ranker"], known["difference"], strict=True)
    ]
    figure.add_annotation(
        text=" · ".join(parts) or ("baseline" if members["ranker"].map(rankers.kind).eq("baseline").any() else ""),
        x=1, xref="paper", xanchor="left", xshift=8, y=y, showarrow=False, font={"size": 12},
    )  # fmt: skip


def _hover(row: Mapping[Hashable, Any]) -> str:
    said = f"{rankers.ranker_name(str(row['ranker']))}<br>{text.number(row['value'])} {text.interval(row['low'], row['high'])}"
    if pd.isna(row["difference"]):
        return said
    return (
        f"{said}<br>{text.number(row['difference'], 'points')} "
        f"{text.interval(row['difference_low'], row['difference_high'], 'points')} against the baseline"
    )


HIT_NAMES = {
    "split=train": ("training queries, as trained on", LOSS, "diamond"),
    "split=train, out of fold": ("training queries, out of fold", LOSS, "diamond-open"),
    "seen": ("test queries with clicks in the log", ACCENT, "circle-open"),
    "new": ("test queries that are new", ACCENT, "square-open"),
    "all": ("test queries, all", ACCENT, "circle"),
}


def hits(rows: pd.DataFrame) -> go.Figure:
    """Share of queries with a relevant item among the beams, by depth, for queries that the generator saw more or less of.

    `rows`: level, segment, value, low, high, n; segments with too few queries are left out.
    """
    figure = go.Figure()
    shown = [s for s in HIT_NAMES if s in set(rows["segment"])]
    for i, segment in enumerate(shown):
        name, colour, symbol = HIT_NAMES[segment]
        part = rows[(rows["segment"] == segment) & (rows["n"] >= text.LEAST_QUERIES)]
        percent = 100 * part[["value", "low", "high"]].astype(float)
        figure.add_scatter(
            x=part["level"] + 0.07 * (i - (len(shown) - 1) / 2), y=percent["value"], mode="markers", name=name,
            marker={"color": colour, "size": 9, "symbol": symbol, "line": {"width": 2, "color": colour}},
            error_y=_errors(percent["value"], percent["low"], percent["high"]) | {"color": colour, "width": 3},
            text=[f"{name}<br>{v:.1f} % of {int(n):,} queries" for v, n in zip(percent["value"], part["n"], strict=True)],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    style(figure, height=330, x="Depth of the match (levels)", y="Hits, %", legend=True)
    levels = sorted(set(rows["level"]))
    figure.update_xaxes(tickvals=levels, ticktext=[f"level {level}" for level in levels], showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    return figure
