"""Coverage's charts: the funnel by tier, who is lost, and how evenly codes are used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from app.charts.codebook import TIERS
from app.charts.theme import ACCENT, NEUTRAL, OKABE_ITO, short, style
from engine.audit.inequality import gini, lorenz

STEP_NAMES = {"has_sid": "has a SID", "in_beam": "in a beam", "in_top_k": "in a top 10"}
_VERDICT_MARKS = {"yes": "circle", "no": "x", "n too small": "circle-open", "not judged": "circle-open"}
VERDICT_NAMES = {name: name for name in _VERDICT_MARKS} | {"yes": "protected", "no": "not protected"}


def funnel(tiers: pd.DataFrame) -> go.Figure:
    """Share of each tier's items that reach each step. `tiers`: tier, n_items and the step counts, NaN unknown."""
    figure = go.Figure()
    for row in reversed(tiers.to_dict("records")):
        known = {name: row[step] for step, name in STEP_NAMES.items() if pd.notna(row[step])}
        shares = [100 * count / row["n_items"] for count in known.values()]
        figure.add_bar(
            orientation="h", y=list(known), x=shares, name=f"{row['tier']} ({row['n_items']:,} items)",
            marker={"color": TIERS[row["tier"]]}, text=[f"{s:.1f}" for s in shares], textposition="outside",
            textfont={"size": 11}, cliponaxis=False, constraintext="none",
            hovertemplate="%{y}: %{x:.1f} % of items<extra>" + row["tier"] + "</extra>",
        )  # fmt: skip
    style(figure, height=330, x="% of the tier's items", legend=True)
    figure.update_xaxes(range=[0, 115], tickvals=[0, 25, 50, 75, 100])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(legend_traceorder="reversed")
    return figure


def gaps(rows: pd.DataFrame) -> go.Figure:
    """Every category by size and by the share of its items with a SID that some beam is. Marks tell the verdict.

    `customdata` = category. `rows`: category, tier, n_items, has_sid, in_beam, protected. x is logarithmic.
    """
    figure = go.Figure()
    share = 100 * rows["in_beam"] / rows["has_sid"].where(rows["has_sid"] > 0)
    verdicts = rows["protected"].fillna("not judged")
    for tier, colour in TIERS.items():
        mask = rows["tier"] == tier
        if not mask.any():
            continue
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=tier,
            legendgroup=tier,
            customdata=[],
            marker={"color": colour, "size": 9},
        )  # the legend's mark tells the tier alone
        part = rows[mask]
        names = verdicts[mask].map(VERDICT_NAMES)
        figure.add_scatter(
            x=part["n_items"], y=share[mask], mode="markers", name=tier, legendgroup=tier, showlegend=False,
            customdata=list(part["category"]),
            text=[f"{short(c, 60)}<br>{n}" for c, n in zip(part["category"], names, strict=True)],
            marker={"color": colour, "symbol": list(verdicts[mask].map(_VERDICT_MARKS)), "size": 9,
                    "line": {"width": 1.5, "color": colour}},
            hovertemplate="%{text}<br>%{x} items, %{y:.1f} % in a beam<extra></extra>",
        )  # fmt: skip
    style(figure, height=330, x="items in the category (log scale)", y="items in a beam, %", legend=True)
    ticks = [m * 10**k for k in range(7) for m in (1, 2, 5)]
    if len(rows) and rows["n_items"].max() > 50 * max(rows["n_items"].min(), 1):
        ticks = [10**k for k in range(7)]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{t:,}" for t in ticks], tickangle=0)
    figure.update_yaxes(rangemode="tozero")
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
    style(figure, height=330, x="codes, least used first, %", y="items held, %", legend=True)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 100])
    return figure


def ginis(use: pd.DataFrame) -> dict[int, float]:
    """Gini of the items per prefix, by level."""
    return {int(str(level)): gini(part["n_items"].to_numpy()) for level, part in use.groupby("level")}


def fullest(use: pd.DataFrame, part: float = 0.1) -> dict[int, tuple[int, int, float]]:
    """By level: how many codes are the fullest `part` of them (at least one), of how many, and their share of the items."""
    out = {}
    for level, rows in use.groupby("level"):
        counts = np.sort(rows["n_items"].to_numpy())[::-1]
        n = max(1, round(part * len(counts)))
        out[int(str(level))] = (n, len(counts), float(counts[:n].sum() / max(counts.sum(), 1)))
    return out


def told_lifts(rows: pd.DataFrame) -> pd.DataFrame:
    """The lifts that can be told, each once, worst first: name, lift, low, high, n, whose ('category' | 'department'),
    tier, category (to click through to).

    A category whose own test queries are too few has no lift here: its department stands for itself, under its own name,
    with the smallest of such categories behind it.
    """
    own = rows[rows["auc_lift"].notna()]
    own = own.assign(
        name=own["category"].str.split(" > ").str[-1], lift=own["auc_lift"], n=own["n_queries"], whose="category"
    )
    pooled = rows[rows["auc_lift"].isna() & rows["pooled_lift"].notna()].sort_values(["n_items", "category"])
    pooled = pooled.drop_duplicates("department")
    pooled = pooled.assign(
        name="all of " + pooled["department"], lift=pooled["pooled_lift"], low=pooled["pooled_low"],
        high=pooled["pooled_high"], n=pooled["pooled_n"], whose="department",
    )  # fmt: skip
    columns = ["name", "lift", "low", "high", "n", "whose", "tier", "category"]
    return pd.concat([own[columns], pooled[columns]]).sort_values(["lift", "name"], ignore_index=True)


def lifts(rows: pd.DataFrame, most: int = 16) -> go.Figure:
    """AUC lift with its interval, worst first, at most `most` rows of `told_lifts`. `customdata` = category."""
    part = rows.head(most).iloc[::-1]
    figure = go.Figure()
    labels = [f"{short(name, 30)} ({n:.0f})" for name, n in zip(part["name"], part["n"], strict=True)]
    for whose, name, colour, symbol in (
        ("category", "a category's own", ACCENT, "circle"),
        ("department", "a whole department's", NEUTRAL, "circle-open"),
    ):
        mask = (part["whose"] == whose).to_numpy()
        if not mask.any():
            continue
        mine = part[mask]
        figure.add_scatter(
            x=100 * mine["lift"], y=np.flatnonzero(mask), mode="markers", name=name, customdata=list(mine["category"]),
            marker={"color": colour, "size": 9, "symbol": symbol, "line": {"width": 1.5}},
            error_x={
                "type": "data", "symmetric": False, "array": 100 * (mine["high"] - mine["lift"]),
                "arrayminus": 100 * (mine["lift"] - mine["low"]), "thickness": 1.5, "width": 3, "color": colour,
            },
            text=[short(c, 60) for c in mine["name"]], hovertemplate="%{text}<br>%{x:+.2f} pp<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": NEUTRAL, "width": 1, "dash": "dot"})
    style(figure, height=110 + 22 * len(part), x="AUC lift, pp", legend=True)
    figure.update_yaxes(tickvals=list(range(len(part))), ticktext=labels, showgrid=False)
    return figure
