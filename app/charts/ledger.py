"""The loss ledger as stacked bars: of each group's judged relevant items, how many are found and where the rest was lost."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app.charts import theme

COLOURS = {
    "found": theme.OKABE_ITO[2],
    "outranked": theme.OKABE_ITO[1],
    "lost in the beam": theme.OKABE_ITO[3],
    "not retrieved": theme.OTHER,
}
"""In the order in which they are stacked."""


def bars(counts: pd.DataFrame) -> go.Figure:
    """One bar a group, as long as its shares add up to 100 %.

    Args:
        counts: value (the group), verdict, n_pairs, share; groups in the order in which they are drawn. A part's
            `customdata` is [verdict, group].
    """
    groups = list(dict.fromkeys(counts["value"]))
    total = counts.groupby("value")["n_pairs"].sum()
    place = {value: at for at, value in enumerate(groups)}
    figure = go.Figure()
    for verdict, colour in COLOURS.items():
        part = counts[counts["verdict"] == verdict]
        if part.empty:
            continue
        figure.add_trace(
            go.Bar(
                y=part["value"].map(place), x=100 * part["share"], orientation="h", name=verdict, marker={"color": colour},
                customdata=[[verdict, value] for value in part["value"]],
                text=[f"{100 * s:.0f} %" if s >= 0.06 else "" for s in part["share"]],
                textposition="inside", insidetextanchor="middle", textfont={"color": "#16181D"},
                hovertext=[
                    f"{theme.short(row['value'], 60)}<br>{verdict}: {row['n_pairs']:,} of {total[row['value']]:,} ({100 * row['share']:.1f} %)"
                    for row in part.to_dict("records")
                ],
                hoverinfo="text", unselected={"marker": {"opacity": 0.5}},
            )
        )  # fmt: skip
    theme.style(figure, height=110 + 34 * len(groups), x="share of judged relevant items, %", legend=True)
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(groups))), range=[len(groups) - 0.5, -0.5],
        ticktext=[f"{theme.short(str(value), 34)} (n = {total[value]:,})" for value in groups],
    )  # fmt: skip
    return figure
