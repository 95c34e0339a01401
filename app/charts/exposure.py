"""Who gains and who loses exposure: diverging bars, the share against what is due, what moved it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from textwrap import wrap

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts import theme
from app.charts.waterfall import arrow

MOST_TICKS = 12
"""Labels that an axis has room for."""


def _ticks(low: float, high: float) -> dict[str, object]:
    """Ticks of a logarithmic axis between two values in %: 1, 2, 5 of every power of ten, more of them where it spans
    less than one, none so near to another that their labels meet."""
    digits = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8)
    apart = (high / low) ** (1 / MOST_TICKS)
    values: list[float] = []
    for value in (digit * 10.0**power for power in range(-6, 3) for digit in digits):
        if low <= value <= high and (not values or value >= values[-1] * apart):
            values.append(value)
    return {"tickvals": values, "ticktext": [f"{t:g}" for t in values]}


def _short(text: str, width: int = 34) -> str:
    """Catalogue text for an axis: safe, since plotly reads tags; a long path keeps its end, a long group ("newest sellers
    (first seen 2022-10-04 to 2025-02-24)") has several lines."""
    name, bracket, said = text.partition(" (")
    if len(text) > width and bracket and len(name) <= width and said.endswith(")"):
        return "<br>".join(theme.short(line, width) for line in [name, *wrap(f"({said}", 24)[:3]])
    return theme.short(text if len(text) <= width else "…" + text[-(width - 1) :], width)


def _names(values: Iterable[str], width: int = 34) -> list[str]:
    """The same for the rows of a chart: names that are alike when shortened are numbered, or their bars would lie on each other."""
    seen: Counter[str] = Counter()
    names = []
    for name in (_short(value, width) for value in values):
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names


def diverging(table: pd.DataFrame) -> go.Figure:
    """Change of exposure share with its 95 % interval, gains to the right, losses to the left.

    Args:
        table: value, difference, low, high (fractions), sure (bool: the corrected test is passed), in any
            order. A change that could be chance is drawn hollow.
    """
    table = table.sort_values("difference", ascending=False)
    points = 100 * table[["difference", "low", "high"]].astype(float)
    colour = [theme.GAIN if d >= 0 else theme.LOSS for d in points["difference"]]
    names = _names(table["value"])
    lines = max((name.count("<br>") for name in names), default=0)
    figure = go.Figure(
        go.Bar(
            orientation="h", y=names, x=points["difference"], customdata=table["value"],
            marker={
                "color": [c if sure else "rgba(0,0,0,0)" for c, sure in zip(colour, table["sure"], strict=True)],
                "line": {"color": colour, "width": 1.5},
            },
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": theme.NEUTRAL,
                "array": points["high"] - points["difference"], "arrayminus": points["difference"] - points["low"],
            },
            hovertext=[
                f"{theme.short(v, 90)}<br>{arrow(d)} {d:+.3f} pp [{lo:+.3f}, {hi:+.3f}]"
                for v, d, lo, hi in zip(table["value"], points["difference"], points["low"], points["high"], strict=True)
            ],
            hoverinfo="text",
        )
    )  # fmt: skip
    theme.style(figure, height=90 + (24 + 13 * lines) * len(table))
    figure.update_xaxes(title="← loses  pp of exposure  gains →", zeroline=True)
    figure.update_yaxes(autorange="reversed", title=None, type="category")
    return figure


def against(table: pd.DataFrame, due: str, title: str) -> go.Figure:
    """Exposure share against the share that is due, on log axes; above the diagonal is over-exposed.

    Args:
        table: value, share, share_without, n_queries and the column `due` (fractions).
        due: 'merit' or 'catalogue_share'.
        title: of the x axis.
    """
    table = table[(table[due] > 0) & (table["share"] > 0)]
    figure = go.Figure()
    ticks: dict[str, object] = {}
    if not table.empty:
        ends = np.array(
            [min(table[due].min(), table["share"].min()) / 1.5, max(table[due].max(), table["share"].max()) * 1.5]
        )
        ticks = _ticks(*(100 * ends))
        figure.add_trace(
            go.Scatter(
                x=100 * ends, y=100 * ends, mode="lines", line={"dash": "dot", "color": theme.NEUTRAL, "width": 1},
                hoverinfo="skip", showlegend=False,
            )
        )  # fmt: skip
    for column, name, symbol, colour in (
        ("share_without", "without SIDs", "circle-open", theme.NEUTRAL),
        ("share", "with SIDs", "circle", theme.GAIN),
    ):
        figure.add_trace(
            go.Scatter(
                x=100 * table[due].astype(float), y=100 * table[column].astype(float), mode="markers", name=name,
                customdata=table["value"], marker={"symbol": symbol, "color": colour, "size": 11 if symbol == "circle-open" else 6},
                hovertext=[
                    f"{theme.short(v, 90)}<br>{name}: {s:.2%} of exposure, {d:.2%} due ({s / d:.2f}×)"
                    for v, s, d in zip(table["value"], table[column], table[due], strict=True)
                ],
                hoverinfo="text",
            )
        )  # fmt: skip
    theme.style(figure, height=380, legend=True)
    figure.update_xaxes(type="log", title=f"{title}, %", **ticks)
    figure.update_yaxes(type="log", title="share of exposure, %", **ticks)
    return figure


def causes(table: pd.DataFrame) -> go.Figure:
    """The change of one seller's exposure by what moved its items; the bars add up to the change.

    Args:
        table: name (as shown), value (fraction of exposure, signed).
    """
    points = 100 * table["value"].astype(float)
    figure = go.Figure(
        go.Bar(
            orientation="h", y=_names(table["name"], 44), x=points, cliponaxis=False,
            marker={"color": [theme.GAIN if v >= 0 else theme.LOSS for v in points]},
            text=[f"{arrow(v)} {v:+.4f}" for v in points], textposition="outside",
            hovertext=[f"{theme.short(n, 90)}<br>{v:+.4f} pp" for n, v in zip(table["name"], points, strict=True)],
            hoverinfo="text",
        )
    )  # fmt: skip
    theme.style(figure, height=90 + 28 * len(table))
    reach = 1.35 * (points.abs().max() or 1)
    figure.update_xaxes(title="percentage points of exposure", zeroline=True, range=[-reach, reach])
    figure.update_yaxes(autorange="reversed", title=None, type="category")
    return figure


def drivers(rows: pd.DataFrame) -> go.Figure:
    """What decides the order as stacked bars, one a group: levels of SIDs in blues from the left, other features beside.

    Args:
        rows: group, part, share (fractions, sum to 1 in each group), the groups in the order of drawing.
    """
    size = rows.groupby("part")["share"].mean()
    parts = sorted(
        size.index, key=lambda part: (not part.startswith("SID"), part if part.startswith("SID") else "", -size[part])
    )
    others = iter(theme.OKABE_ITO[1:])
    groups = list(dict.fromkeys(rows["group"]))
    figure = go.Figure()
    levels = 0
    for part in parts:
        levels += part.startswith("SID")
        colour = _LEVELS[min(levels, len(_LEVELS)) - 1] if part.startswith("SID") else next(others, theme.OTHER)
        mine = rows[rows["part"] == part].set_index("group")["share"].reindex(groups).fillna(0.0)
        figure.add_bar(
            orientation="h", y=_names(groups), x=100 * mine, name=_short(part), marker={"color": colour},
            text=[f"{100 * v:.0f}" if v >= 0.04 else "" for v in mine], textposition="inside", insidetextanchor="middle", textangle=0,
            hovertemplate=f"{theme.short(part, 60)}: %{{x:.1f}} %<extra></extra>",
        )  # fmt: skip
    theme.style(figure, height=130 + 34 * len(groups), x="% of what decides", legend=True)
    figure.update_layout(barmode="stack", legend_traceorder="normal")
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(autorange="reversed", title=None, type="category", showgrid=False)
    return figure


_LEVELS = ("#0072B2", "#3D95C9", "#7FB3D9", "#B3D1E8")
"""SIDs by level."""


def moved(table: pd.DataFrame) -> go.Figure:
    """Exact changes of exposure share, in the order given.

    Args:
        table: value, difference (fraction).
    """
    points = 100 * table["difference"].astype(float)
    figure = go.Figure(
        go.Bar(
            orientation="h", y=_names(table["value"]), x=points, cliponaxis=False,
            marker={"color": [theme.GAIN if d >= 0 else theme.LOSS for d in points]},
            text=[f"{arrow(d)} {d:+.3f}" for d in points], textposition="outside",
            hovertext=[theme.short(v, 90) for v in table["value"]], hovertemplate="%{hovertext}<br>%{text} pp<extra></extra>",
        )
    )  # fmt: skip
    theme.style(figure, height=90 + 26 * len(table))
    reach = 1.35 * (points.abs().max() or 1)
    figure.update_xaxes(
        title="← loses    change of exposure share under the policy, percentage points    gains →", range=[-reach, reach],
        zeroline=True,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title=None, type="category")
    return figure
