"""The Codebook's charts: map, tree, and the small charts of a code card."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.theme import ACCENT, DIVERGING, LOSS, NEUTRAL, OTHER, PURITY, categorical, short, style

MAP_HEIGHT = 560
TIERS = {"head": "#0072B2", "torso": "#009E73", "tail": "#E69F00", "unknown": OTHER}


class Shade(NamedTuple):
    """How the boxes of the tree are coloured."""

    title: str
    column: str
    low: float = 0.0
    high: float = 1.0
    scale: Any = PURITY


SHADES = {
    "exposure change": Shade("Change of exposure by SIDs (pp)", "exposure_change", scale=DIVERGING),
    "purity": Shade("Purity (%)", "purity", 0.0, 100.0),
    "label score": Shade("Label score", "label_score", 0.0, 1.0, PURITY),
}
"""Besides departments."""


def tree(rows: pd.DataFrame, root: str, size_by: str, colour_by: str, departments: list[str]) -> go.Figure:
    """Treemap of prefixes below `root` ('' = all), sized by `n_items` or `exposure`, coloured by department or a `SHADES`.

    `customdata` = prefix. `rows`: prefix, parent, name, n_items, exposure and the column of the colour. `departments`: of the
    whole run in a fixed order, so that a colour means one department wherever the tree is opened. A node's own value is what
    its shown children do not account for, so that rounding never makes children exceed their parent.
    """
    values = rows[size_by].fillna(0.0).to_numpy(dtype=np.float64)
    known = set(rows["prefix"])
    parents = ["" if p is None or p not in known else p for p in rows["parent"].where(rows["parent"].notna(), None)]
    children = pd.Series(values).groupby(pd.Series(parents)).sum()
    own = np.maximum(values - rows["prefix"].map(children).fillna(0.0).to_numpy(), 0.0)
    own[own < 1e-9] = 0.0
    sizes = [f"{v:,.0f} items" if size_by == "n_items" else f"{100 * v:.3g} % of exposure" for v in values]
    colours, told = _tree_colours(rows, colour_by, departments)
    figure = go.Figure(
        go.Treemap(
            ids=list(rows["prefix"]), labels=[f"<b>{short(name, 60)}</b>" for name in rows["name"]], parents=parents,
            values=own, branchvalues="remainder", customdata=list(rows["prefix"]), maxdepth=2 if root else 1, tiling={"pad": 2},
            marker=colours | {
                "pad": {"t": 24 if root else 3, "l": 3, "r": 3, "b": 3}, "line": {"width": 1.5, "color": "rgba(255,255,255,0.55)"},
            },
            text=[f"{prefix} · {size}" for prefix, size in zip(rows["prefix"], sizes, strict=True)], textinfo="label+text",
            textfont={"size": 12}, pathbar={"visible": False}, root={"color": "rgba(0,0,0,0)"},
            hovertext=told, hovertemplate="%{label}<br>%{text}<br>%{hovertext}<extra></extra>", name="codes",
        )
    )  # fmt: skip
    style(figure, height=MAP_HEIGHT, legend=colour_by == "department")
    if colour_by == "department":
        _legend(figure, rows, departments)
    figure.update_layout(margin={"l": 0, "r": 0, "b": 0}, uniformtext={"minsize": 9, "mode": "hide"})
    return figure


def _tree_colours(rows: pd.DataFrame, colour_by: str, departments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The treemap's `marker`, and each box's colour in words."""
    if colour_by == "department":
        palette = categorical(departments)
        return {"colors": [palette.get(d, OTHER) for d in rows["department"]]}, [
            short(d, 60) for d in rows["department"]
        ]
    shade = SHADES[colour_by]
    values = rows[shade.column].to_numpy(dtype=np.float64) * (1.0 if colour_by == "label score" else 100.0)
    low, high = shade.low, shade.high
    if colour_by == "exposure change":
        high = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
        low = -high
    bar = {"title": {"text": shade.title, "side": "right"}, "thickness": 10, "len": 0.7}
    marker = {"colors": values, "colorscale": shade.scale, "cmin": low, "cmax": high, "colorbar": bar}
    unit = {"exposure change": "{:+.3f}", "purity": "{:.1f}", "label score": "{:.2f}"}[colour_by]
    return marker, [f"{shade.title}: {unit.format(v) if np.isfinite(v) else 'unknown'}" for v in values]


def _legend(figure: go.Figure, rows: pd.DataFrame, departments: list[str]) -> None:
    """Names beside the colours: a treemap has no legend of its own."""
    palette, shown = categorical(departments), set(rows["department"])
    named = [d for d in departments if d in shown and palette[d] != OTHER]
    others = [d for d in departments if d in shown and palette[d] == OTHER]
    entries = [(short(d, 28), palette[d]) for d in named]
    if others:
        entries.append((f"{len(others)} others" if len(others) > 1 else short(others[0], 28), OTHER))
    for name, colour in entries:
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=name, marker={"size": 10, "symbol": "square", "color": colour}
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)


def mix(rows: pd.DataFrame, *, most: int = 8) -> go.Figure:
    """Horizontal bars of the largest values of a field and 'other'. `rows`: value, n_items, share."""
    head, rest = rows.head(most), rows.iloc[most:]
    values, shares = list(head["value"]), list(100 * head["share"])
    if len(rest):
        values.append(f"{len(rest)} others")
        shares.append(100 * float(rest["share"].sum()))
    labels = [short(str(v).rpartition(" > ")[2] or str(v), 44) for v in values]
    figure = go.Figure(
        go.Bar(
            x=shares[::-1], y=list(range(len(labels)))[::-1], orientation="h",
            marker={"color": [NEUTRAL if len(rest) and i == len(labels) - 1 else ACCENT for i in range(len(labels))][::-1]},
            text=[f"{s:.1f} %" for s in shares][::-1], textposition="auto", hovertemplate="%{x:.1f} %<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=70 + 28 * len(labels), x="Share of items (%)")
    figure.update_yaxes(tickvals=list(range(len(labels))), ticktext=labels, autorange="reversed", showgrid=False)
    return figure


def histogram(values: pd.Series, *, x: str, median: float | None = None) -> go.Figure:
    """How many items fall in each of at most 30 equal bins; the median as a dotted line."""
    kept = values.to_numpy(dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    counts, edges = np.histogram(kept, bins=int(np.clip(np.sqrt(len(kept)) * 1.5, 5, 30)))
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2, y=counts, width=np.diff(edges), marker={"color": ACCENT, "line": {"width": 0}},
            hovertemplate="around %{x:.3~g}: %{y} items<extra></extra>",
        )
    )  # fmt: skip
    if median is not None and np.isfinite(median):
        figure.add_vline(x=median, line={"color": LOSS, "width": 2, "dash": "dot"})
        figure.add_annotation(
            x=median, y=1, yref="paper", yanchor="bottom", text=f"median {median:.3g}", showarrow=False
        )
    style(figure, height=260, x=x, y="Items")
    figure.update_layout(bargap=0.03, margin={"t": 28})
    return figure


def residuals(rows: pd.DataFrame, everywhere: pd.DataFrame) -> go.Figure:
    """Median residual norm before level 1 and after each level, with the 10th-90th percentile: this code and all items.

    Both: step, low, median, high.
    """
    figure = go.Figure()
    for part, name, colour in ((everywhere, "all items", NEUTRAL), (rows, "this code", ACCENT)):
        labels = ["before level 1" if s == 0 else f"after level {s}" for s in part["step"]]
        figure.add_scatter(
            x=labels, y=part["median"], mode="lines+markers", name=name, line={"color": colour, "width": 2},
            marker={"size": 8},
            error_y={
                "type": "data", "symmetric": False, "array": part["high"] - part["median"],
                "arrayminus": part["median"] - part["low"], "thickness": 1.5, "width": 4, "color": colour,
            },
            hovertemplate="%{x}: %{y:.3f}<extra>" + name + "</extra>",
        )  # fmt: skip
    style(figure, height=260, y="Residual norm", legend=True)
    figure.update_yaxes(rangemode="tozero")
    return figure
