"""The Overview's charts: lift per segment and the ladder of rankers, points with their intervals."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app import text
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
    style(figure, height=120 + 30 * len(rows), x="Difference, with minus without SIDs (points = 1/100)", legend=True)
    figure.update_yaxes(categoryorder="array", categoryarray=labels, showgrid=False)
    return figure


def ladder(rows: pd.DataFrame, *, metric_name: str, ceiling: float | None = None) -> go.Figure:
    """Each ranker's metric with its 95 % interval, simplest first; the ceiling as a dashed line.

    `rows`: ranker, value, low, high.
    """
    rows = rows.iloc[::-1].reset_index(drop=True)
    labels = [text.RANKER_NAMES[r] for r in rows["ranker"]]
    figure = go.Figure()
    for label, row in zip(labels, rows.to_dict("records"), strict=True):
        colour = ACCENT if row["ranker"] == "dsirm" else NEUTRAL
        figure.add_scatter(
            x=[row["value"]], y=[label], mode="markers",
            marker={"color": colour, "size": 11, "symbol": "square" if row["ranker"] == "strong" else "circle"},
            error_x={
                "type": "data", "symmetric": False, "array": [row["high"] - row["value"]],
                "arrayminus": [row["value"] - row["low"]], "thickness": 2, "width": 4, "color": colour,
            },
            hovertemplate="%{y}<br>%{x:.3f}<extra></extra>",
        )  # fmt: skip
    if ceiling is not None:
        figure.add_vline(x=ceiling, line={"color": LOSS, "width": 1.5, "dash": "dash"})
        figure.add_annotation(
            x=ceiling,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=f"ceiling {ceiling:.3f}",
            showarrow=False,
            xanchor="right",
        )
    style(figure, height=90 + 32 * len(rows), x=metric_name)
    figure.update_layout(margin={"t": 28})
    figure.update_yaxes(categoryorder="array", categoryarray=labels, showgrid=False)
    return figure
