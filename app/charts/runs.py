"""The charts of the Runs page: change by query, learning curves, the ladder of methods, where items of a code went."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app import rankers
from app.charts.theme import ACCENT, GAIN, LOSS, NEUTRAL, short, style

MOST_FLOWS = 24


def changes(rows: pd.DataFrame, *, metric_name: str) -> go.Figure:
    """Queries by how much the measure changed, in 40 bins; gains and losses in their colours. `rows`: difference."""
    figure = go.Figure()
    for name, colour, part in (
        ("worse", LOSS, rows[rows["difference"] < 0]),
        ("same", NEUTRAL, rows[rows["difference"] == 0]),
        ("better", GAIN, rows[rows["difference"] > 0]),
    ):
        if len(part):
            figure.add_histogram(
                x=part["difference"], name=f"{name} ({len(part):,})", marker_color=colour,
                xbins={"start": -1.025, "end": 1.025, "size": 0.05}, hovertemplate="%{x}: %{y} queries<extra></extra>",
            )  # fmt: skip
    style(figure, height=260, x=f"Change of {metric_name}", y="Queries", legend=True)
    figure.update_layout(barmode="stack", bargap=0.05)
    return figure


def curves(rows: pd.DataFrame, *, name: str) -> go.Figure:
    """One measure while learning, a line a run. `rows`: run, step, value."""
    figure = go.Figure()
    for (run, part), colour, dash in zip(
        rows.groupby("run", sort=False), (ACCENT, NEUTRAL), ("solid", "dash"), strict=False
    ):
        figure.add_scatter(
            x=part["step"], y=part["value"], name=short(str(run)), mode="lines+markers" if len(part) < 40 else "lines",
            line={"color": colour, "dash": dash}, marker={"size": 5},
        )  # fmt: skip
    style(figure, height=280, x="Step", y=name, legend=True)
    return figure


def ladder(rows: pd.DataFrame, *, name: str) -> go.Figure:
    """A measure of every method with its 95 % interval, the best on top. `rows`: method, value, low, high, n_seeds."""
    rows = rows.sort_values("value")
    labels = [rankers.method_name(str(m)) for m in rows["method"]]
    known = rows[["low", "high"]].notna().all(axis=1)
    figure = go.Figure()
    figure.add_scatter(
        x=rows["value"], y=labels, mode="markers", marker={"color": ACCENT, "size": 10},
        error_x={"type": "data", "symmetric": False, "array": (rows["high"] - rows["value"]).where(known, 0),
                 "arrayminus": (rows["value"] - rows["low"]).where(known, 0), "color": ACCENT, "thickness": 2, "width": 4},
        customdata=rows["n_seeds"], hovertemplate="%{y}<br>%{x:.4f}, %{customdata} seeds<extra></extra>", showlegend=False,
    )  # fmt: skip
    style(figure, height=120 + 30 * len(rows), x=name)
    figure.update_yaxes(showgrid=False)
    return figure


def flows(rows: pd.DataFrame) -> go.Figure:
    """The largest streams of items from codes of one run to codes of the other. `rows`: base_label, label, n, moved."""
    rows = rows.head(MOST_FLOWS)
    left = list(dict.fromkeys(rows["base_label"]))
    right = list(dict.fromkeys(rows["label"]))
    figure = go.Figure(
        go.Sankey(
            textfont={"shadow": "none"},  # a halo of the page's colour blurs words that lie on a stream
            node={"label": [short(n, 48) for n in left + right], "pad": 10, "thickness": 12, "color": NEUTRAL},
            link={
                "source": [left.index(n) for n in rows["base_label"]],
                "target": [len(left) + right.index(n) for n in rows["label"]],
                "value": rows["n"],
                "color": ["rgba(217,123,0,0.22)" if m else "rgba(27,138,153,0.22)" for m in rows["moved"]],
            },
        )
    )
    style(figure, height=max(320, 26 * max(len(left), len(right))))
    return figure


def churn(rows: pd.DataFrame) -> go.Figure:
    """The share of common items that moved, by level. `rows`: level, moved (share)."""
    figure = go.Figure(
        go.Bar(
            x=100 * rows["moved"], y=[f"Level {level}" for level in rows["level"]], orientation="h", marker_color=LOSS,
            text=[f"{100 * v:.1f} %" for v in rows["moved"]], textposition="outside", cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} % moved<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=90 + 34 * len(rows), x="Common items that moved (%)")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[0, max(10.0, 115 * float(rows["moved"].max() or 0))])
    return figure
