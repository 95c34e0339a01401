"""The signed waterfall of one score, from the reference to the score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import theme

_LINE, _PART = 34, 19
"""Pixels of a feature's line, and of one part of a line that has several."""


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
        parts: name (of the line, as shown), value (signed), in the order to draw; rows of one name stand stacked on
            its line. Optional: part (what a step of a line is called), note (words in place of the sign and number).
        reference: score of the reference point, where the first step starts.
        score: the ranker's own score, drawn as the last bar on its own (never summed here, so that a
            difference is seen).
        unit: of score and values, for the axis.
    """
    none = pd.Series("", index=parts.index)
    part, note = (parts[c].fillna("") if c in parts else none for c in ("part", "note"))
    line = pd.factorize(parts["name"])[0]
    of_line = np.bincount(line, minlength=0)
    height = np.array([_LINE, *np.maximum(_LINE, _PART * of_line + 8), _LINE], dtype=np.float64)
    middle = np.cumsum(height) - height / 2
    place, width = [middle[0]], [0.62 * _LINE]
    for i, at in enumerate(line):
        n = of_line[at]
        step = 0.62 * _LINE if n == 1 else _PART
        place.append(middle[at + 1] + step * (int((line[:i] == at).sum()) - (n - 1) / 2))
        width.append(step if n == 1 else step - 3)
    values = parts["value"].to_numpy(dtype=np.float64)
    told = [
        " ".join(w for w in (str(p), str(n) or f"{arrow(v)} {v:+.3f}") if w)
        for p, n, v in zip(part, note, values, strict=True)
    ]
    figure = go.Figure(
        go.Waterfall(
            orientation="h", y=[*place, middle[-1]], x=[reference, *values, score], width=[*width, 0.62 * _LINE],
            measure=["absolute", *["relative"] * len(parts), "absolute"],
            text=[f"{reference:.2f}", *told, f"{score:.2f}"], textposition="outside", cliponaxis=False,
            hovertemplate="%{customdata}<br>%{text}<extra></extra>",
            customdata=["reference", *(theme.short(str(n), 60) for n in parts["name"]), "score"],
            increasing={"marker": {"color": theme.GAIN}}, decreasing={"marker": {"color": theme.LOSS}},
            totals={"marker": {"color": theme.NEUTRAL}}, connector={"line": {"color": theme.NEUTRAL, "width": 0.5}},
        )
    )  # fmt: skip
    theme.style(figure, height=int(80 + height.sum()))
    reached = np.concatenate([[reference, score, 0.0], reference + np.cumsum(values)])
    low, high = float(reached.min()), float(reached.max())
    room = (0.3 if of_line.max(initial=1) > 1 else 0.18) * (high - low or 1)
    left = room if low < min(reference, 0.0) else 0.04 * (high - low or 1)  # for what is written left of a bar
    figure.update_xaxes(title=unit, range=[low - left, high + room], zeroline=True)
    names = parts["name"].drop_duplicates()
    figure.update_yaxes(
        range=[height.sum(), 0], tickvals=middle, ticktext=["reference", *_lines(names), "score"], title=None,
        showgrid=False,
    )  # fmt: skip
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
