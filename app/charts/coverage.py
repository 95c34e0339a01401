"""Coverage's charts: the funnel by tier, who is lost, and how evenly codes are used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.codebook import TIERS
from app.charts.theme import NEUTRAL, OKABE_ITO, short, style
from engine.audit.inequality import gini, lorenz

STEP_NAMES = {
    "has_sid": "has a SID",
    "uniquely_decodable": "uniquely decodable",
    "generated": "unique and generated",
    "in_top_k": "in a top 10",
}
_VERDICT_MARKS = {"yes": "circle", "no": "x", "n too small": "circle-open", "not judged": "circle-open"}
VERDICT_NAMES = {name: name for name in _VERDICT_MARKS} | {"yes": "protected", "no": "not protected"}


def funnel(tiers: pd.DataFrame) -> go.Figure:
    """Share of each tier's items that reach each step. `tiers`: tier, n_items and the four step counts, NaN unknown."""
    figure = go.Figure()
    for row in tiers.to_dict("records"):
        known = {name: row[step] for step, name in STEP_NAMES.items() if pd.notna(row[step])}
        shares = [100 * count / row["n_items"] for count in known.values()]
        figure.add_bar(
            x=list(known), y=shares, name=f"{row['tier']} ({row['n_items']:,} items)",
            marker={"color": TIERS[row["tier"]]}, text=["100" if s == 100 else f"{s:.1f}" for s in shares], textposition="outside",
            textfont={"size": 11}, textangle=0, cliponaxis=False, constraintext="none", hovertemplate="%{x}: %{y:.1f} % of items<extra>" + row["tier"] + "</extra>",
        )  # fmt: skip
    style(figure, height=360, y="Share of the tier's items (%)", legend=True)
    figure.update_yaxes(range=[0, 112], tickvals=[0, 25, 50, 75, 100])
    return figure


def gaps(rows: pd.DataFrame) -> go.Figure:
    """Every category by size and by the share of its items with a SID that are unique and generated.

    Marks tell the verdict.

    `customdata` = category. `rows`: category, tier, n_items, has_sid, generated, protected. x is logarithmic.
    """
    figure = go.Figure()
    share = 100 * rows["generated"] / rows["has_sid"].where(rows["has_sid"] > 0)
    for tier, colour in TIERS.items():
        for verdict, symbol in _VERDICT_MARKS.items():
            mask = (rows["tier"] == tier) & (rows["protected"].fillna("not judged") == verdict)
            if not mask.any():
                continue
            part = rows[mask]
            figure.add_scatter(
                x=part["n_items"], y=share[mask], mode="markers", name=f"{tier}, {VERDICT_NAMES[verdict]}",
                customdata=list(part["category"]), text=[short(c, 60) for c in part["category"]],
                marker={"color": colour, "symbol": symbol, "size": 10, "line": {"width": 1.5, "color": colour}},
                hovertemplate="%{text}<br>%{x} items, %{y:.1f} % unique and generated<extra></extra>",
            )  # fmt: skip
    style(
        figure,
        height=360,
        x="Items in the category (log scale)",
        y="Items unique and generated (% of those with a SID)",
        legend=True,
    )
    ticks = [m * 10**k for k in range(7) for m in (1, 2, 5)]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:,}" for t in ticks])
    return figure


def lorenz_curves(use: pd.DataFrame) -> go.Figure:
    """Share of items held by the least used prefixes, a curve a level, with its Gini. `use`: level, prefix, n_items."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100], y=[0, 100], mode="lines", name="perfectly even", hoverinfo="skip",
        line={"color": NEUTRAL, "dash": "dot", "width": 1.5},
    )  # fmt: skip
    for place, (level, part) in enumerate(use.groupby("level")):
        counts = part["n_items"].to_numpy(dtype=np.float64)
        curve = lorenz(counts)
        kept = np.unique(np.linspace(0, len(curve.population) - 1, 400).astype(int))
        figure.add_scatter(
            x=100 * curve.population[kept], y=100 * curve.share[kept], mode="lines",
            name=f"level {level}: Gini {gini(counts):.3f}", line={"color": OKABE_ITO[place % 7], "width": 2.5},
            hovertemplate="the least used %{x:.0f} % of prefixes hold %{y:.1f} % of items<extra></extra>",
        )  # fmt: skip
    style(figure, height=360, x="Prefixes, least used first (%)", y="Items held (%)", legend=True)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 100])
    return figure


def ginis(use: pd.DataFrame) -> dict[int, float]:
    """Gini of the items per prefix, by level."""
    return {int(str(level)): gini(part["n_items"].to_numpy()) for level, part in use.groupby("level")}


def distinct_lifts(rows: pd.DataFrame) -> pd.DataFrame:
    """The lifts that can be judged, one row each, worst first, with the `name` of what was measured.

    Categories with too few test queries are judged by their department's lift: such a lift stands once, under the
    department's name, with its smallest category to click through to.
    """
    judged = rows[rows["auc_lift"].notna()].sort_values(["n_items", "category"])
    same = ["department", "auc_lift", "low", "high", "n_queries"]
    pooled = judged.duplicated(same, keep=False)
    leaf = judged["category"].str.split(" > ").str[-1]
    judged = judged.assign(
        name=leaf.mask(pooled, judged["department"] + ", department"), tier=judged["tier"].mask(pooled, "department")
    )
    return judged.drop_duplicates(same).sort_values(["auc_lift", "name"], ignore_index=True)


def lifts(rows: pd.DataFrame, most: int = 16) -> go.Figure:
    """AUC lift with its interval, worst first, at most `most` rows of `distinct_lifts`. `customdata` = category."""
    part = rows.head(most).iloc[::-1]
    figure = go.Figure()
    labels = [f"{short(name, 34)} ({n})" for name, n in zip(part["name"], part["n_queries"], strict=True)]
    for tier, colour in {**TIERS, "department": NEUTRAL}.items():
        mask = (part["tier"] == tier).to_numpy()
        if not mask.any():
            continue
        mine = part[mask]
        figure.add_scatter(
            x=100 * mine["auc_lift"], y=np.flatnonzero(mask), mode="markers", name=tier,
            customdata=list(mine["category"]), marker={"color": colour, "size": 9},
            error_x={
                "type": "data", "symmetric": False, "array": 100 * (mine["high"] - mine["auc_lift"]),
                "arrayminus": 100 * (mine["auc_lift"] - mine["low"]), "thickness": 1.5, "width": 3, "color": colour,
            },
            text=[short(c, 60) for c in mine["name"]], hovertemplate="%{text}<br>%{x:+.2f} pp<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    style(figure, height=110 + 22 * len(part), x="AUC lift (percentage points)", legend=True)
    figure.update_yaxes(tickvals=list(range(len(part))), ticktext=labels, showgrid=False)
    return figure
