"""The Codebook's charts: map, tree, and the small charts of a code card."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.theme import ACCENT, LOSS, NEUTRAL, OTHER, PURITY, short, style

MAP_HEIGHT = 560
TIERS = {"head": "#0072B2", "torso": "#009E73", "tail": "#E69F00", "unknown": OTHER}


def tree(rows: pd.DataFrame, root: str, size_by: str) -> go.Figure:
    """Treemap of prefixes below `root` ('' = all), sized by `n_items` or `exposure`, coloured by purity.

    `customdata` = prefix. `rows`: prefix, parent, label, n_items, exposure, purity. A node's own value is what its shown
    children do not account for, so that rounding never makes children exceed their parent.
    """
    values = rows[size_by].fillna(0.0).to_numpy(dtype=np.float64)
    known = set(rows["prefix"])
    parents = ["" if p is None or p not in known else p for p in rows["parent"].where(rows["parent"].notna(), None)]
    children = pd.Series(values).groupby(pd.Series(parents)).sum()
    own = np.maximum(values - rows["prefix"].map(children).fillna(0.0).to_numpy(), 0.0)
    own[own < 1e-9] = 0.0
    labels = [
        f"<b>{short(p, 16)}</b>"
        + (f"<br>{short(label, 44).replace(' · ', '<br>')}" if isinstance(label, str) and label else "")
        for p, label in zip(rows["prefix"], rows["label"], strict=True)
    ]
    sizes = [f"{v:,.0f} items" if size_by == "n_items" else f"{100 * v:.3g} % of exposure" for v in values]
    figure = go.Figure(
        go.Treemap(
            ids=list(rows["prefix"]), labels=labels, parents=parents, values=own, branchvalues="remainder",
            customdata=list(rows["prefix"]), maxdepth=2 if root else 1, tiling={"pad": 2},
            marker={
                "colors": rows["purity"].to_numpy(dtype=np.float64), "colorscale": PURITY, "cmin": 0, "cmax": 1,
                "colorbar": {"title": {"text": "Purity"}, "thickness": 10, "len": 0.6},
                "pad": {"t": 20 if root else 3, "l": 3, "r": 3, "b": 3}, "line": {"width": 1.5, "color": "rgba(255,255,255,0.55)"},
            },
            textfont={"size": 12}, pathbar={"visible": False}, root={"color": "rgba(0,0,0,0)"},
            hovertext=sizes, hovertemplate="%{label}<br>%{hovertext}<br>purity %{color:.2f}<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=MAP_HEIGHT)
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, uniformtext={"minsize": 9, "mode": "hide"})
    return figure


def mix(rows: pd.DataFrame, *, most: int = 8) -> go.Figure:
    """Horizontal bars of the largest values of a field and 'other'. `rows`: value, n_items, share."""
    head, rest = rows.head(most), rows.iloc[most:]
    values, shares = list(head["value"]), list(100 * head["share"])
    if len(rest):
        values.append(f"{len(rest)} others")
        shares.append(100 * float(rest["share"].sum()))
    labels = [short(str(v), 34) for v in values]
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
