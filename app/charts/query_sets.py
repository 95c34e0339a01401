"""Sets of queries x runs as a heatmap: nDCG@10, or what SIDs changed of it."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app.charts import theme


def heatmap(cells: pd.DataFrame, *, signed: bool, unit: str) -> go.Figure:
    """Rows are sets, columns are runs, in the order of `cells`.

    Args:
        cells: name, column, value (NaN: n too small, or nothing measured), said (what stands in the cell).
        signed: the value is a difference, coloured from orange (less) over grey to blue (more).
        unit: what the value is, for the colour bar.

    A heatmap gives no clicks, so every cell has a marker with the set's name as `customdata`.
    """
    names, columns = list(dict.fromkeys(cells["name"])), list(dict.fromkeys(cells["column"]))
    shape = cells.pivot(index="name", columns="column", values="value").reindex(index=names, columns=columns)
    largest = float(cells["value"].abs().max()) if cells["value"].notna().any() else 1.0
    scale = (
        {"colorscale": theme.DIVERGING, "zmid": 0, "zmin": -largest, "zmax": largest}
        if signed
        else {"colorscale": theme.SEQUENTIAL, "zmin": 0, "zmax": 1}
    )
    figure = go.Figure(
        go.Heatmap(
            z=shape.to_numpy(), x=columns, y=list(range(len(names))), xgap=3, ygap=3, hoverinfo="skip",
            colorbar={"title": {"text": unit, "side": "right"}, "thickness": 12}, **scale,
        )
    )  # fmt: skip
    place = {name: at for at, name in enumerate(names)}
    figure.add_trace(
        go.Scatter(
            x=cells["column"], y=cells["name"].map(place), mode="markers+text", text=cells["said"].map(lambda s: f"<b>{s}</b>"),
            customdata=cells["name"], hovertext=[f"{theme.short(n, 60)}<br>{c}<br>{s}" for n, c, s in zip(cells["name"], cells["column"], cells["said"], strict=True)],
            hoverinfo="text", marker={"size": 34, "symbol": "square", "color": "rgba(0,0,0,0)"},
            textfont={"size": 12, "color": [_ink(v, signed=signed, largest=largest) for v in cells["value"]]},
            unselected={"marker": {"opacity": 1}}, showlegend=False,
        )
    )  # fmt: skip
    theme.style(figure, height=110 + 40 * len(names))
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(names))), ticktext=[theme.short(name, 34) for name in names],
        range=[len(names) - 0.5, -0.5], showgrid=False,
    )  # fmt: skip
    figure.update_xaxes(side="top", showgrid=False, type="category")
    return figure


def _ink(value: float, *, signed: bool, largest: float) -> str:
    """Black or white, whichever can be read on the cell; grey where the cell is empty and the page shows through."""
    if pd.isna(value):
        return theme.NEUTRAL
    dark = value > 0.75 * largest if signed else value < 0.55
    return "#FFFFFF" if dark else "#16181D"
