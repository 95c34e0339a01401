"""The signed waterfall of one score, from the reference to the score."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app.charts import theme


def arrow(value: float) -> str:
    """A sign that is read without colour: up, down or none."""
    return "▲" if value > 1e-12 else "▼" if value < -1e-12 else "="


def _lines(names: pd.Series) -> list[str]:
    """Names for an axis; one that ends in a signal's name has it on a line of its own, so that bars keep their room."""
    return [
        f"{theme.short(head, 60)}:<br>{tail}" if dot else theme.short(head, 60)
        for head, dot, tail in (str(n).partition(": ") for n in names)
    ]


def waterfall(parts: pd.DataFrame, reference: float, score: float, unit: str = "score") -> go.Figure:
    """Contributions as steps, top to bottom.

    Args:
        parts: name (as shown), value (signed), in the order to draw.
        reference: score of the reference point, where the first step starts.
        score: the ranker's own score, drawn as the last bar on its own (never summed here, so that a
            difference is seen).
        unit: of score and values, for the axis.
    """
    names = ["reference", *_lines(parts["name"]), "score"]
    values = [reference, *parts["value"], score]
    text = [f"{reference:.2f}", *(f"{arrow(v)} {v:+.3f}" for v in parts["value"]), f"{score:.2f}"]
    figure = go.Figure(
        go.Waterfall(
            orientation="h", y=names, x=values, measure=["absolute", *["relative"] * len(parts), "absolute"],
            text=text, textposition="outside", cliponaxis=False, hovertemplate="%{y}<br>%{text}<extra></extra>",
            increasing={"marker": {"color": theme.GAIN}}, decreasing={"marker": {"color": theme.LOSS}},
            totals={"marker": {"color": theme.NEUTRAL}}, connector={"line": {"color": theme.NEUTRAL, "width": 0.5}},
        )
    )  # fmt: skip
    theme.style(figure, height=80 + 34 * len(names))
    levels = pd.Series(values[1:-1]).cumsum() + reference
    low, high = min(levels.min(), reference, score, 0), max(levels.max(), reference, score, 0)
    room = 0.18 * (high - low or 1)
    figure.update_xaxes(title=unit, range=[low - room, high + room], zeroline=True)
    figure.update_yaxes(autorange="reversed", title=None)
    return figure


def swap(parts: pd.DataFrame, upper: str, lower: str, unit: str = "difference in score") -> go.Figure:
    """Which features put one item above another.

    Args:
        parts: name, value = contribution to the upper item minus contribution to the lower one.
        upper, lower: what to call the two.
        unit: of the differences, for the axis.
    """
    parts = parts.sort_values("value", key=abs, ascending=False)
    figure = go.Figure(
        go.Bar(
            orientation="h", y=_lines(parts["name"]), x=parts["value"], cliponaxis=False,
            marker={"color": [theme.GAIN if v >= 0 else theme.LOSS for v in parts["value"]]},
            text=[f"{v:+.3f}" for v in parts["value"]], textposition="outside",
            hovertemplate="%{y} %{text}<extra></extra>",
        )
    )  # fmt: skip
    theme.style(figure, height=90 + 30 * len(parts))
    reach = 1.3 * (parts["value"].abs().max() or 1)
    figure.update_xaxes(title=f"← for {lower}    {unit}    for {upper} →", range=[-reach, reach], zeroline=True)
    figure.update_yaxes(autorange="reversed", title=None)
    return figure
