"""The simulated online effect: the change under every reading, and what it rests on. Every figure says 'simulation'."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app import text
from app.charts.theme import ACCENT, LOSS, NEUTRAL, WITH_SID, WITHOUT_SID, style

METRICS = {"uctr": ("UCTR, sessions with a click", ACCENT, "circle"),
           "uctcvr": ("UCTCVR, sessions with a purchase", LOSS, "diamond")}  # fmt: skip
SOURCES = {
    "judged": ("judged: click rate of its grade", ACCENT),
    "shown": ("shown: its own clicks", "#56B4E9"),
    "unmeasured": ("unmeasured: as measured items placed alike", NEUTRAL),
}
_READINGS = {
    "estimate": "<b>Estimate</b>",
    "neutral": "Neutral: no ranking is favoured",
    "alike": "Alike: unmeasured as measured",
    "beyond": "Beyond: as far again",
}


def reading_name(scenario: str, decay: float, own: float) -> str:
    """A row of the simulation in words; the decay where it is another than the estimate's."""
    name = _READINGS.get(scenario, scenario)
    return name if scenario == "estimate" or abs(decay - own) < 1e-9 else f"{name}, decay {decay:g}"


def simulation(figure: go.Figure) -> go.Figure:
    """Write 'simulation' into the figure, where a copied picture keeps it."""
    figure.add_annotation(
        text="<b>SIMULATION</b>", x=1, y=1, xref="paper", yref="paper", xanchor="right", yanchor="bottom", showarrow=False,
        font={"size": 13, "color": NEUTRAL},
    )  # fmt: skip
    return figure


def effect(rows: pd.DataFrame) -> go.Figure:
    """Relative change with SIDs of both metrics, the estimate and each reading it spans, with 95 % intervals.

    `rows`: metric, scenario, decay, relative, relative_low, relative_high.
    """
    figure = go.Figure()
    own = float(rows.loc[rows["scenario"] == "estimate", "decay"].iloc[0])
    rows = rows.assign(name=[reading_name(s, d, own) for s, d in zip(rows["scenario"], rows["decay"], strict=True)])
    names = list(dict.fromkeys(rows["name"]))
    place = {name: -i for i, name in enumerate(names)}
    for aside, (metric, (label, colour, symbol)) in zip((0.14, -0.14), METRICS.items(), strict=True):
        part = rows[rows["metric"] == metric]
        percent = 100 * part[["relative", "relative_low", "relative_high"]].astype(float)
        figure.add_scatter(
            x=percent["relative"], y=part["name"].map(place) + aside, mode="markers", name=label,
            marker={"color": colour, "size": [13 if s == "estimate" else 8 for s in part["scenario"]], "symbol": symbol,
                    "opacity": 1},
            error_x={
                "type": "data", "symmetric": False, "array": percent["relative_high"] - percent["relative"],
                "arrayminus": percent["relative"] - percent["relative_low"], "thickness": 2, "width": 3, "color": colour,
            },
            text=[
                f"{name}<br>{label}<br>{text.number(r, 'change')} {text.interval(low, high, 'change')}"
                for name, r, low, high in zip(
                    part["name"], part["relative"], part["relative_low"], part["relative_high"], strict=True
                )
            ],
            hovertemplate="%{text}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    style(figure, height=120 + 40 * len(names), x="Relative change, % (simulation)", legend=True)
    figure.update_yaxes(tickvals=list(place.values()), ticktext=names, range=[-len(names) + 0.4, 0.6], showgrid=False)
    return simulation(figure)


def sources(row: pd.Series) -> go.Figure:
    """What the attractiveness of the replayed attention rests on, with and without SIDs.

    `row`: judged, shown, unmeasured and the same with the suffix `_without`, shares.
    """
    figure = go.Figure()
    for name, (label, colour) in SOURCES.items():
        shares = [100 * float(row[f"{name}_without"]), 100 * float(row[name])]
        figure.add_bar(
            orientation="h", y=["without SIDs", "with SIDs"], x=shares, name=label,
            marker={"color": colour}, textangle=0, insidetextfont={"color": "#10181C"},
            text=[f"{s:.0f} %" if s >= 6 else "" for s in shares], textposition="inside", insidetextanchor="middle",
            hovertemplate=f"{label}<br>%{{y}}: %{{x:.1f}} %<extra></extra>",
        )  # fmt: skip
    style(figure, height=240, x="Share of attention, % (simulation)", legend=True)
    figure.update_layout(barmode="stack", legend={"y": 1.05, "traceorder": "normal"})
    figure.update_xaxes(range=[0, 100])
    return simulation(figure)


def examination(model: pd.DataFrame) -> go.Figure:
    """How many sessions look at a place: as replayed, and, as a check, as the log alone says place by place.

    `model`: the rows of `click_model` with parameter 'examination' or 'examination_free'.
    """
    figure = go.Figure()
    for parameter, name, colour, mode in (
        ("examination", "as replayed", WITH_SID, "lines"),
        ("examination_free", "of the log, each place its own", WITHOUT_SID, "markers"),
    ):
        part = model[model["parameter"] == parameter]
        if part.empty:
            continue
        value, low, high = (100 * part[column].astype(float) for column in ("value", "low", "high"))
        figure.add_scatter(
            x=part["key"].astype(int), y=value, mode=mode, name=name, marker={"color": colour, "size": 9},
            line={"color": colour, "width": 2},
            error_y={"type": "data", "symmetric": False, "array": high - value, "arrayminus": value - low,
                     "color": colour, "visible": mode == "markers"},
            hovertemplate="place %{x}: %{y:.0f} % look<extra></extra>",
        )  # fmt: skip
    style(figure, height=240, x="Place", y="Sessions that look, % (simulation)", legend=True)
    figure.update_xaxes(dtick=1, showgrid=False)
    figure.update_yaxes(rangemode="tozero")
    return simulation(figure)
