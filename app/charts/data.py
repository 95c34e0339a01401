"""The Data page's charts: how titles, categories, grades, judgments and traffic are distributed."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from app import text
from app.charts.theme import ACCENT, NEUTRAL, OTHER, WITH_SID, short, style

HEIGHT = 290
LONGEST = 40
"""Titles (and lists of judged items) of this length or longer are one bar."""
FEW = 4
"""Bars fewer than this keep room beside them."""
MOST_DEPARTMENTS = 12
NO_CATEGORY = "no category"


def median(values: pd.Series, weights: pd.Series) -> float:
    """The middle of values that occur `weights` times each; `values` rise."""
    reached = weights.cumsum()
    return float(values[reached >= reached.iloc[-1] / 2].iloc[0])


def lengths(rows: pd.DataFrame, x: str, n: str, *, title: str, unit: str) -> go.Figure:
    """Bars of how often each whole number occurs, those from `LONGEST` on as one; the median is marked. `rows`: x, n."""
    last = min(int(rows[x].max()), LONGEST)
    bars = rows.assign(**{x: rows[x].clip(upper=LONGEST)}).groupby(x)[n].sum()
    bars = bars.reindex(range(int(bars.index.min()), last + 1), fill_value=0)
    names = [f"{value} or more" if value == LONGEST else str(value) for value in bars.index]
    figure = go.Figure(
        go.Bar(
            x=list(bars.index), y=list(bars), marker={"color": ACCENT}, customdata=names,
            hovertemplate="%{customdata}: %{y:,} " + unit + "<extra></extra>",
        )
    )  # fmt: skip
    middle = median(rows[x], rows[n])
    figure.add_vline(
        x=min(middle, LONGEST), line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
        annotation_text=f"median {middle:g}", annotation_position="top",
    )  # fmt: skip
    style(figure, height=HEIGHT, x=title, y=unit.capitalize())
    figure.update_yaxes(tickformat=",")
    figure.update_layout(margin_t=28)
    first = int(bars.index.min())
    if last - first < FEW:  # a bar alone would fill the chart
        figure.update_xaxes(range=[max(first - FEW / 2, -0.5), last + FEW / 2])
    if last == LONGEST:
        figure.update_xaxes(
            tickvals=[*range(0, LONGEST, 5), LONGEST], ticktext=[*map(str, range(0, LONGEST, 5)), f"{LONGEST}+"]
        )
    elif last - first < 15:
        figure.update_xaxes(dtick=1)
    return figure


def departments(rows: pd.DataFrame) -> go.Figure:
    """Items by department, largest on top, the rest as 'other' and those without a category apart, in grey.

    `rows`: department (None = no category), n_items, share. `customdata` = the department.
    """
    named = rows[rows["department"].notna()]
    shown, rest = named.head(MOST_DEPARTMENTS), named.iloc[MOST_DEPARTMENTS:]
    bars = [(short(d, 34), d, n, ACCENT) for d, n in zip(shown["department"], shown["n_items"], strict=True)]
    if len(rest):
        bars.append((f"{len(rest):,} others", "", int(rest["n_items"].sum()), OTHER))
    without = int(rows.loc[rows["department"].isna(), "n_items"].sum())
    if without:
        bars.append((NO_CATEGORY, "", without, OTHER))
    total = int(rows["n_items"].sum())
    figure = go.Figure(
        go.Bar(
            x=[n for *_, n, _ in bars], y=list(range(len(bars))), orientation="h", customdata=[d for _, d, *_ in bars],
            marker={"color": [colour for *_, colour in bars]},
            text=[text.number(n / total, "percent") for *_, n, _ in bars], textposition="outside", cliponaxis=False,
            hovertemplate="%{x:,} items<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=max(HEIGHT, 70 + 22 * len(bars)), x="Items")
    figure.update_yaxes(
        tickvals=list(range(len(bars))), ticktext=[label for label, *_ in bars], autorange="reversed", showgrid=False
    )
    figure.update_xaxes(range=[0, 1.25 * max(n for *_, n, _ in bars)])
    return figure


def depths(rows: pd.DataFrame) -> go.Figure:
    """Items by the depth of their category, those without one in grey. `rows`: depth (0 = none), n_items, share."""
    rows = rows.set_index("depth").reindex(range(max(int(rows["depth"].max()), 2) + 1), fill_value=0).reset_index()
    names = [NO_CATEGORY if depth == 0 else text.plural(depth, "level", "levels") for depth in rows["depth"]]
    figure = go.Figure(
        go.Bar(
            x=names, y=rows["n_items"], marker={"color": [OTHER if d == 0 else ACCENT for d in rows["depth"]]},
            text=[text.number(share, "percent") for share in rows["share"]], textposition="outside", cliponaxis=False,
            hovertemplate="%{x}: %{y:,} items<extra></extra>", width=0.6,
        )
    )  # fmt: skip
    style(figure, height=HEIGHT, x="Parts of the category path", y="Items")
    figure.update_yaxes(range=[0, 1.15 * rows["n_items"].max()], tickformat=",")
    return figure


def grades(rows: pd.DataFrame, relevant: float, highest: float) -> go.Figure:
    """Judged pairs by grade, relevant ones coloured; the legend says from which on. `rows`: `queries.data.grades`."""
    stepped = bool(rows["step"].notna().any())
    gap = float(rows["step"].iloc[0]) if stepped else float(rows["grade"].diff().min())
    width = 0.9 * gap if stepped else 0.7 * gap if len(rows) > 1 else 0.5
    figure = go.Figure()
    for name, counts, colour in (
        (f"below {relevant:g}", rows["n_pairs"] - rows["n_relevant"], NEUTRAL),
        (f"relevant: {relevant:g} and above", rows["n_relevant"], WITH_SID),
    ):
        figure.add_bar(
            x=rows["grade"], y=counts, name=name, marker={"color": colour}, width=width,
            hovertemplate="grade %{x:.3g}: %{y:,} pairs<extra>" + name + "</extra>",
        )  # fmt: skip
    figure.add_vline(
        x=relevant if stepped else relevant - width / 1.6, line={"color": NEUTRAL, "width": 1.5, "dash": "dot"}
    )
    style(figure, height=HEIGHT, x=f"Grade (0 to {highest:g})", y="Judged pairs", legend=True)
    figure.update_layout(barmode="stack")
    figure.update_yaxes(tickformat=",")
    figure.update_xaxes(range=[-0.8 * width, highest + 0.8 * width])
    if not stepped:
        figure.update_xaxes(tickvals=list(rows["grade"]))
    return figure


def traffic(curve: pd.DataFrame) -> go.Figure:
    """Share of traffic that the most frequent queries hold. `curve`: queries, share_of_queries, share_of_traffic."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="all alike", hoverinfo="skip",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    figure.add_scatter(
        x=[0, *100 * curve["share_of_queries"]], y=[0, *100 * curve["share_of_traffic"]], mode="lines", name="queries",
        line={"color": ACCENT, "width": 2.5}, customdata=[0, *curve["queries"]],
        hovertemplate="the %{customdata:,} most frequent queries (%{x:.1f} %) hold %{y:.1f} % of traffic<extra></extra>",
    )  # fmt: skip
    style(figure, height=HEIGHT, x="Queries, most frequent first (%)", y="Traffic held (%)", legend=True)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 102])
    return figure


DAY_MS = 86_400_000


def log(rows: pd.DataFrame, kind: str) -> go.Figure:
    """The log by 'day' (impressions, or rows where there are none) or 'position' (click rate, or clicks).

    `rows`: value, n_rows, impressions, clicks, click_rate.
    """
    measured, name = log_measure(rows, kind)
    values = measured * 100 if "%" in name else measured
    figure = go.Figure(
        go.Bar(
            x=rows["value"], y=values, marker={"color": ACCENT},
            hovertemplate="%{x}: %{y:,.1f} %<extra></extra>" if "%" in name else "%{x}: %{y:,}<extra></extra>",
        )
    )  # fmt: skip
    style(figure, height=HEIGHT, x="Day" if kind == "day" else "Position in the result list", y=name)
    figure.update_yaxes(tickformat=",")
    figure.update_xaxes(type="date" if kind == "day" else "linear")
    if kind == "day":  # Hours between days would be read as such.
        figure.update_xaxes(tickformat="%-d %b %Y", dtick=DAY_MS if len(rows) <= 4 else None, tickangle=0)
    if kind == "position" and len(rows) <= 24:
        figure.update_xaxes(dtick=1)
    return figure


def log_measure(rows: pd.DataFrame, kind: str) -> tuple[pd.Series, str]:
    """What tells most of the log by day or position, and its name with the unit."""
    if kind == "position" and rows["click_rate"].notna().any():
        return rows["click_rate"], "Clicks per impression (%)"
    if kind == "position" and rows["clicks"].sum() > 0:
        return rows["clicks"], "Clicks"
    if rows["impressions"].sum() > 0:
        return rows["impressions"], "Impressions"
    return rows["n_rows"], "Rows of the log"
