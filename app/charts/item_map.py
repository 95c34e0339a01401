"""The map of items: points or density, coloured; names on clusters; what is lit up; the region looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.codebook import TIERS
from app.charts.theme import DIVERGING, OKABE_ITO, OTHER, PURITY, SEQUENTIAL, short, style

HEIGHT = 640
MARK = "#D81B60"
"""The selection on the map: outside the palette, seen on both backgrounds."""
PAGE = "#000038"
"""What Streamlit's chart theme replaces by the page's background, light or dark."""
INK = "#000037"
"""What it replaces by the colour of strong text."""
NEAR = 3_000
"""With no more points than this, marks are large enough for symbols to be told apart."""
SYMBOLS = ("circle", "square", "diamond")
COLOURS = OKABE_ITO[:-1]
REACHED = (OTHER, "#56B4E9", "#0072B2", "#D55E00")
"""No code agrees with a beam; one does, two do, ... ; the last for the deepest."""
NAMES = 40
"""Names on the map at most."""
MANY = 100
"""More marks than this of one kind are drawn smaller."""


class Picked(NamedTuple):
    """What a selection on the map asks for; '' where it does not."""

    region: str = ""
    """'x0,x1,y0,y1' of a box, or 'x0,y0,x1,y1,...' of a lasso."""
    code: str = ""
    item: str = ""


class Overlay(NamedTuple):
    """Items that are lit up: `rows` with x, y, item_id, sid, and `text` where hovering shows one."""

    rows: pd.DataFrame
    name: str
    look: str
    """A key of LOOKS."""


LOOKS: dict[str, dict[str, Any]] = {
    "code": {"symbol": "circle-open", "color": MARK, "size": 11, "line": {"width": 2, "color": MARK}},
    "item": {"symbol": "circle-cross-open", "color": MARK, "size": 20, "line": {"width": 3, "color": MARK}},
    "found": {"symbol": "diamond", "color": "#F0E442", "size": 9, "line": {"width": 1.2, "color": "#303030"}},
    "candidate": {"symbol": "triangle-up", "color": "#CC79A7", "size": 8, "line": {"width": 0.8, "color": "#FFFFFF"}},
    "beam": {"symbol": "square-open", "color": MARK, "size": 14, "line": {"width": 2.5, "color": MARK}},
    "relevant": {"symbol": "star", "color": "#009E73", "size": 14, "line": {"width": 1, "color": "#FFFFFF"}},
    "irrelevant": {"symbol": "x", "color": "#D55E00", "size": 9, "line": {"width": 1, "color": "#FFFFFF"}},
}


def picked(selection: Mapping[str, Any], level: int, corners: int) -> Picked:
    """A drawn box or lasso (cut to so many corners) is a region; otherwise the first chosen point names its item and the
    item's code of `level`."""
    if boxes := selection.get("box"):
        x, y = sorted(boxes[0]["x"]), sorted(boxes[0]["y"])
        return Picked(region=",".join(f"{v:.3f}" for v in (*x, *y)))
    if lassos := selection.get("lasso"):
        line = list(zip(lassos[0]["x"], lassos[0]["y"], strict=True))
        kept = line[:: max(1, -(-len(line) // corners))]
        return Picked(region=",".join(f"{v:.3f}" for point in kept for v in point)) if len(kept) > 2 else Picked()
    if points := selection.get("points"):
        sid, item = (str(part) for part in list(points[0].get("customdata") or ("", ""))[:2])
        return Picked(code="-".join(sid.split("-")[:level]), item=item)
    return Picked()


def called(label: str | None, width: int = 26) -> str:
    """A code's name on the map: the first two terms of its label."""
    return short(" · ".join((label or "").split(" · ")[:2]), width)


def placed(names: pd.DataFrame, box: Sequence[float], *, wide: int = 1000, high: int = HEIGHT) -> pd.DataFrame:
    """The names that fit on a map of `wide` x `high` pixels without touching one another, in their order (the largest first).

    `names`: label, x, y (where a text ends below). A text that stands already is not written twice. Adds `name` and `anchor`:
    beside the left and the right border a text begins or ends at its place.
    """
    across, up = wide / max(box[1] - box[0], 1e-9), high / max(box[3] - box[2], 1e-9)
    kept: list[dict[str, Any]] = []
    taken: list[tuple[float, float, float]] = []
    for row in names.to_dict("records"):
        text = called(row["label"])
        half = 3.6 * len(text) + 6
        x, y = (row["x"] - box[0]) * across, (row["y"] - box[2]) * up
        anchor = "left" if x < half else "right" if x > wide - half else "center"
        middle = x + {"left": half, "right": -half, "center": 0.0}[anchor]
        clear = all(abs(middle - a) > half + b or abs(y - c) > 21 for a, c, b in taken)
        if text and clear and all(text != other["name"] for other in kept) and len(kept) < NAMES:
            kept.append({"name": text, "anchor": anchor} | {str(key): value for key, value in row.items()})
            taken.append((middle, y, half))
    return pd.DataFrame(kept, columns=[*names.columns, "name", "anchor"])


class Mark(NamedTuple):
    """How the items of one value are drawn."""

    name: str
    colour: str
    symbol: str


def marks(known: pd.DataFrame, *, tiers: bool = False) -> dict[str, Mark]:
    """A mark for each value, by its place among all items of the map, so that it keeps it in every view; none for 'unknown'.

    `known`: value, label (of a code), the commonest first.
    """
    made: dict[str, Mark] = {}
    for value, label in zip(known["value"], known["label"], strict=True):
        if value != "unknown":
            n = len(made)
            colour = TIERS.get(value, OTHER) if tiers else COLOURS[n % len(COLOURS)]
            name = f"{value} {called(label)}" if isinstance(label, str) else value
            made[value] = Mark(name, colour, SYMBOLS[n // len(COLOURS) % len(SYMBOLS)])
    return made


def reach(depth: float) -> str:
    """How many codes of an item agree with the query's deepest-agreeing beam, in words."""
    return (
        "not reached" if depth < 1 else f"{int(depth)} code{'s' if depth > 1 else ''} agree{'s' if depth < 2 else ''}"
    )


def reach_marks(levels: int) -> dict[str, Mark]:
    """The marks of those words, deeper ones stronger."""
    return {reach(k): Mark(reach(k), REACHED[k if k < 3 else -1], SYMBOLS[0]) for k in range(levels + 1)}


class Scale(NamedTuple):
    """How an amount is coloured."""

    title: str
    low: float
    high: float
    colours: Any = SEQUENTIAL
    log: bool = False
    missing: str = "unknown"


def scale(colouring: str, low: float, high: float, unit: str = "") -> Scale:
    """The scale of a colouring by amount whose 1st and 99th percentile over the whole map are those."""
    if colouring == "purity":
        return Scale("Purity", 0, 1, PURITY)
    if colouring == "price":
        return Scale(f"Price ({unit})" if unit else "Price", max(low, 1e-3), max(high, low, 1e-2), log=True)
    if colouring == "age":
        return Scale("Years older<br>than the newest", 0, max(high, 0.01))
    if colouring == "grade":
        return Scale("Mean grade", 0, max(high, 0.01), missing="not judged")
    far = max(abs(low), abs(high), 1e-9)
    return Scale("Exposure gained<br>(1 = an average<br>item's share)", -far, far, DIVERGING)


def points(
    rows: pd.DataFrame,
    *,
    box: Sequence[float],
    marks: Mapping[str, Mark] | None = None,
    amount: Scale | None = None,
    titles: bool = False,
    drag: str = "pan",
    faint: bool = False,
    height: int = HEIGHT,
) -> go.Figure:
    """One WebGL point an item, `customdata` = [sid, item_id]. `rows`: item_id, sid, x, y, value, title, category.

    `marks`: of each value that has its own; with more than NEAR points only circles are told apart.
    `amount`: the scale, where the values are amounts. `titles`: hovering shows title and category, else the SID alone.
    `drag`: 'pan' (a click chooses a point), 'select' or 'lasso' (a drag draws; clicks do not reach the page). `faint`: so that
    what is lit up stands out.
    """
    figure = go.Figure()
    near = len(rows) <= NEAR
    common = {"size": 7 if near else 5 if len(rows) < 10_000 else 3, "opacity": 0.35 if faint else 0.85}
    values = rows["value"].to_numpy()
    if amount is not None:
        known = np.isfinite(values.astype(np.float64))
        _trace(figure, rows[~known], short(amount.missing), common | {"color": OTHER, "opacity": 0.25}, titles)
        _trace(
            figure,
            rows[known],
            "items",
            common | _coloured(values[known].astype(np.float64), amount),
            titles,
            legend=False,
        )
    else:
        shown = {value: mark for value, mark in (marks or {}).items() if near or mark.symbol == SYMBOLS[0]}
        rest = ~np.isin(values, list(shown)) if shown else np.ones(len(rows), dtype=bool)
        _trace(
            figure, rows[rest], "others" if shown else "items", common | {"color": OTHER, "symbol": "circle"}, titles
        )
        for value, mark in shown.items():
            look = common | {"color": mark.colour, "symbol": mark.symbol}
            _trace(figure, rows[values == value], short(mark.name, 26), look, titles)
    return _bare(figure, box, drag, height)


def density(rows: pd.DataFrame, *, box: Sequence[float], drag: str = "pan", faint: bool = False) -> go.Figure:
    """One square a cell, coloured by the logarithm of its items; `customdata` = [commonest prefix, ''].

    `rows`: x, y, n_items, prefix, label. Squares rather than a heatmap: clicks on a heatmap do not reach the page.
    """
    figure = go.Figure()
    n = rows["n_items"].to_numpy(dtype=np.float64)
    ticks = [10**k for k in range(7) if 10**k <= max(n.max(initial=1), 1)]
    ids = np.column_stack([rows["prefix"].to_numpy(dtype=object), np.full(len(rows), "", dtype=object)])
    told = [f"{k:,} items, most of {called(label)}" for k, label in zip(rows["n_items"], rows["label"], strict=True)]
    figure.add_scattergl(
        x=rows["x"].to_numpy(dtype=np.float32), y=rows["y"].to_numpy(dtype=np.float32), customdata=ids, mode="markers",
        name="items per cell", text=told, hovertemplate="%{text}<br>code %{customdata[0]}<extra></extra>", showlegend=False,
        marker={
            "symbol": "square", "size": 6, "color": np.log10(n).astype(np.float32), "colorscale": SEQUENTIAL,
            "opacity": 0.5 if faint else 1.0,
            "colorbar": {
                "title": {"text": "Items"}, "thickness": 10, "len": 0.6, "tickvals": list(np.log10(ticks)),
                "ticktext": [f"{t:,}" for t in ticks],
            },
        },
    )  # fmt: skip
    return _bare(figure, box, drag, HEIGHT)


def light(figure: go.Figure, overlays: Sequence[Overlay]) -> None:
    """Draw what is lit up over the points, in order."""
    for over in overlays:
        look = LOOKS[over.look]
        if len(over.rows) > MANY:
            look = look | {"size": 0.65 * look["size"], "line": look["line"] | {"width": 1}}
        told = (
            {"text": list(over.rows["text"]), "hovertemplate": "%{text}<extra></extra>"}
            if "text" in over.rows
            else {"hoverinfo": "skip"}
        )
        figure.add_scattergl(
            x=over.rows["x"].to_numpy(dtype=np.float32), y=over.rows["y"].to_numpy(dtype=np.float32), mode="markers",
            customdata=over.rows[["sid", "item_id"]].to_numpy(dtype=object), name=short(over.name, 60), marker=look, **told,
        )  # fmt: skip


def name(figure: go.Figure, names: pd.DataFrame) -> None:
    """Write names of codes where `placed` left room. As notes, not as a trace: a box must not select them."""
    for row in names.to_dict("records"):
        figure.add_annotation(
            x=row["x"], y=row["y"], text=row["name"], showarrow=False, font={"size": 12, "color": INK}, bgcolor=PAGE, opacity=0.85,
            borderpad=0, xanchor=row["anchor"], yanchor="bottom", yshift=4,
        )  # fmt: skip


def outline(figure: go.Figure, region: Sequence[float] | None) -> None:
    """The border of the region looked at."""
    if region is None:
        return
    line = {"color": MARK, "width": 2, "dash": "dot"}
    if len(region) == 4:
        figure.add_shape(type="rect", x0=region[0], x1=region[1], y0=region[2], y1=region[3], line=line)
        return
    corners = " L ".join(f"{x:.3f},{y:.3f}" for x, y in zip(region[::2], region[1::2], strict=True))
    figure.add_shape(type="path", path=f"M {corners} Z", line=line)


def _trace(
    figure: go.Figure,
    rows: pd.DataFrame,
    name: str,
    marker: dict[str, Any],
    titles: bool,
    *,
    legend: bool = True,
) -> None:
    if rows.empty:
        return
    told: dict[str, Any] = {"hovertemplate": "SID %{customdata[0]}<extra></extra>"}
    if titles:
        parts = zip(rows["title"], rows["category"], strict=True)
        told = {
            "text": [short(t, 60) + (f"<br>{short(c, 40)}" if isinstance(c, str) else "") for t, c in parts],
            "hovertemplate": "%{text}<br>SID %{customdata[0]}<extra></extra>",
        }
    figure.add_scattergl(
        x=rows["x"].to_numpy(dtype=np.float32), y=rows["y"].to_numpy(dtype=np.float32), mode="markers", name=name,
        customdata=rows[["sid", "item_id"]].to_numpy(dtype=object), marker=marker, showlegend=legend, **told,
    )  # fmt: skip


def _coloured(values: np.ndarray, amount: Scale) -> dict[str, Any]:
    """Marker colours of amounts, with their bar; beyond the scale's ends the end's colour."""
    bar: dict[str, Any] = {"title": {"text": amount.title}, "thickness": 10, "len": 0.6}
    low, high = amount.low, amount.high
    if amount.log:
        low, high, values = float(np.log10(low)), float(np.log10(high)), np.log10(np.maximum(values, low))
        ticks = [m * 10.0**k for k in range(-3, 9) for m in (1, 3) if low <= np.log10(m * 10.0**k) <= high]
        bar |= {"tickvals": list(np.log10(ticks)), "ticktext": [f"{t:,.6g}" for t in ticks]}
    return {
        "color": values.astype(np.float32), "colorscale": amount.colours, "cmin": low, "cmax": high, "colorbar": bar,
    }  # fmt: skip


def _bare(figure: go.Figure, box: Sequence[float], drag: str, height: int) -> go.Figure:
    """Axes without ticks: map coordinates have no unit, so that the map is stretched to the page."""
    style(figure, height=height)
    pad = 0.015
    wide, high = max(box[1] - box[0], 1e-6), max(box[3] - box[2], 1e-6)
    figure.update_xaxes(visible=False, range=[box[0] - pad * wide, box[1] + pad * wide])
    figure.update_yaxes(visible=False, range=[box[2] - pad * high, box[3] + 3 * pad * high])  # room for a name
    figure.update_layout(
        dragmode=drag, margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "itemsizing": "constant", "title": {"text": ""}},
    )  # fmt: skip
    return figure
