"""Sets of queries: x runs as a heatmap of nDCG@10 or what SIDs changed of it; of one run, the changes with their intervals."""

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


def changes(rows: pd.DataFrame) -> go.Figure:
    """What SIDs changed of each set's nDCG@10 in one run: a point with its 95 % interval, zero drawn.

    Args:
        rows: name, value, low, high; sets whose n is too small are left out. Points have the name as `customdata`.
    """
    rows = rows.dropna(subset=["value"]).reset_index(drop=True)
    clear = (rows["low"] > 0) | (rows["high"] < 0)
    figure = go.Figure(
        go.Scatter(
            x=rows["value"], y=rows.index, mode="markers", customdata=rows["name"],
            error_x={"type": "data", "symmetric": False, "array": rows["high"] - rows["value"], "arrayminus": rows["value"] - rows["low"],
                     "color": theme.NEUTRAL},
            marker={"size": 12, "symbol": clear.map({True: "circle", False: "circle-open"}), "line": {"width": 2},
                    "color": [theme.GAIN if v > 0 else theme.LOSS for v in rows["value"]]},
            hovertext=[f"{theme.short(r['name'], 60)}<br>{r['value']:+.3f} [{r['low']:+.3f}, {r['high']:+.3f}]" for r in rows.to_dict("records")],
            hoverinfo="text", showlegend=False, unselected={"marker": {"opacity": 1}},
        )
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": theme.NEUTRAL, "dash": "dot", "width": 1})
    theme.style(figure, height=110 + 34 * len(rows), x="difference of nDCG@10, with minus without SIDs")
    figure.update_yaxes(
        tickmode="array", tickvals=list(rows.index), ticktext=[theme.short(name, 34) for name in rows["name"]],
        range=[len(rows) - 0.5, -0.5],
    )  # fmt: skip
    return figure


def _ink(value: float, *, signed: bool, largest: float) -> str:
    """Black or white, whichever can be read on the cell; grey where the cell is empty and the page shows through."""
    if pd.isna(value):
        return theme.NEUTRAL
    dark = value > 0.75 * largest if signed else value < 0.55
    return "#FFFFFF" if dark else "#16181D"
