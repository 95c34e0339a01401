"""The beam trie: what the generator tried at each level, what it kept and what it pruned.

A tidy tree drawn from left to right, one column a level. Kept and pruned differ by marker and line as well as
by colour. Points carry the prefix as `customdata`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from app.charts import theme

ROW = 30
"""Pixels a leaf."""
ROOT = 0.45
"""Where the query stands, in levels: nothing is written on the branches from it, so that they may be short."""
ELBOW = 0.12
"""How far before a node its branch turns, in levels: the parent's text stands on the straight part before it."""


class Placed(NamedTuple):
    """Nodes with their place: `nodes` has x (level) and y (row, 0 on top); `rows` is the number of leaves."""

    nodes: pd.DataFrame
    rows: int


def place(nodes: pd.DataFrame, pruned: int) -> Placed:
    """Choose and place the nodes: all kept ones, and the `pruned` best of the pruned ones of each level.

    A pruned prefix is a leaf; a kept one sits at the mean of its children. Children follow their rank.
    """
    nodes = nodes.sort_values(["level", "rank"], kind="stable")
    waiting = (~nodes["kept"]).astype(int).groupby(nodes["level"]).cumsum()
    shown = nodes[nodes["kept"] | (waiting <= pruned)].copy()
    children: dict[str, list[str]] = {}
    for prefix, parent in zip(shown["prefix"], shown["parent"].fillna(""), strict=True):
        children.setdefault(parent, []).append(prefix)
    height: dict[str, float] = {}
    rows = 0

    def descend(prefix: str) -> float:
        nonlocal rows
        below = [descend(child) for child in children.get(prefix, [])]
        if below:
            height[prefix] = sum(below) / len(below)
        else:
            height[prefix] = rows
            rows += 1
        return height[prefix]

    descend("")
    shown = shown[shown["prefix"].isin(height.keys())]
    shown["x"] = shown["level"].astype(float)
    shown["y"] = shown["prefix"].map(height)
    root = pd.DataFrame({"prefix": [""], "level": [0], "x": [ROOT], "y": [height[""]], "kept": [True]})
    return Placed(pd.concat([root, shown], ignore_index=True), rows)


def trie(nodes: pd.DataFrame, *, pruned: int = 4) -> go.Figure:
    """The search tree of one query.

    Args:
        nodes: level, prefix, parent, log_prob, step_log_prob, rank, kept, n_items, label, mark; `mark` is
            '' | 'aliased' | 'harmful' and concerns whole SIDs. For the hover, where they are there: titles (the first
            ones under the prefix), n_relevant (items under it that were judged relevant to the query).
        pruned: pruned branches drawn a level; the table beside the chart has all of them.
    """
    placed = place(nodes, pruned)
    tree = placed.nodes
    at = {row["prefix"]: (float(row["x"]), float(row["y"])) for row in tree.to_dict("records")}
    figure = go.Figure()
    for kept in (False, True):
        part = tree[(tree["level"] > 0) & (tree["kept"] == kept)]
        _edges(figure, part, at, kept)
    for kept in (False, True):
        part = tree[(tree["level"] > 0) & (tree["kept"] == kept)]
        _markers(figure, part, kept, set(tree["parent"].dropna()))
    figure.add_trace(
        go.Scatter(
            x=[ROOT], y=[at[""][1]], mode="markers+text", text=["query"], textposition="top center",
            marker={"size": 9, "symbol": "square", "color": theme.NEUTRAL}, hoverinfo="skip", showlegend=False,
            unselected={"marker": {"opacity": 1}, "textfont": {"color": theme.NEUTRAL}},
        )
    )  # fmt: skip
    levels = int(tree["level"].max())
    for level in range(1, levels + 1):
        figure.add_annotation(
            x=level, y=1, yref="paper", yshift=16, text=f"<b>level {level}</b>", showarrow=False, xanchor="center"
        )
    theme.style(figure, height=max(240, 80 + ROW * placed.rows), legend=True)
    figure.update_layout(
        margin={"l": 20, "r": 20, "t": 36, "b": 36},
        legend={"y": 0, "yanchor": "top"},
        hovermode="closest",
    )
    figure.update_xaxes(visible=False, range=[ROOT - 0.12, levels + 0.9])
    figure.update_yaxes(visible=False, range=[placed.rows - 0.4, -0.9])
    return figure


def _edges(figure: go.Figure, part: pd.DataFrame, at: dict[str, tuple[float, float]], kept: bool) -> None:
    """Lines parent -> child; kept ones as wide as the step is likely, in four classes (a trace has one width)."""
    width = (part["step_log_prob"].map(math.exp) * 4).clip(0, 3.999).astype(int) if kept else pd.Series(0, part.index)
    for band in sorted(width.unique()):
        x: list[float | None] = []
        y: list[float | None] = []
        for row in part[width == band].to_dict("records"):
            from_x, from_y = at["" if pd.isna(row["parent"]) else row["parent"]]
            turn = row["x"] - ELBOW
            x += [from_x, turn, turn, row["x"], None]
            y += [from_y, from_y, row["y"], row["y"], None]
        line = {"color": theme.ACCENT if kept else theme.NEUTRAL, "width": 1.5 + band if kept else 1}
        if not kept:
            line["dash"] = "dot"
        figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False))


def _markers(figure: go.Figure, part: pd.DataFrame, kept: bool, parents: set[str]) -> None:
    if part.empty:
        return
    text = [
        ("<b>{}</b>" if kept else "{}").format(
            f"{row['prefix'].rsplit('-', 1)[-1]}  {math.exp(row['step_log_prob']):.1%}"
        )
        + (
            f"  <i>{theme.short(row['label'].split(' · ')[0], 22)}</i>"
            if isinstance(row["label"], str) and row["label"]
            else ""
        )
        + (f"  ×{int(row['n_items'])}" if row["mark"] else "")
        + ("  ⚠" if row["mark"] == "harmful" else "")
        for row in part.to_dict("records")
    ]
    hover = [
        f"<b>{row['prefix']}</b><br>{theme.short(row['label'], 90) if isinstance(row['label'], str) else 'no label'}"
        f"<br>p given its parent {math.exp(row['step_log_prob']):.2%}"
        f"<br>p from the root {math.exp(row['log_prob']):.2%} (log {row['log_prob']:.2f})"
        f"<br>rank {int(row['rank'])} of its level, {'kept' if kept else 'pruned'}"
        f"<br>{int(row['n_items']):,} item{'s' if row['n_items'] != 1 else ''}{_mark_words(row['mark'])}{_under(row)}"
        for row in part.to_dict("records")
    ]
    figure.add_trace(
        go.Scatter(
            x=part["x"], y=part["y"], mode="markers+text", text=text,
            textposition=["top right" if prefix in parents else "middle right" for prefix in part["prefix"]],
            customdata=part["prefix"], hovertext=hover, hoverinfo="text",
            unselected={"marker": {"opacity": 0.7}, "textfont": {"color": theme.NEUTRAL}},
            name="kept in the beam" if kept else "pruned",
            marker={
                "size": 10 if kept else 8, "symbol": "circle" if kept else "circle-open",
                "color": theme.ACCENT if kept else theme.NEUTRAL, "line": {"width": 1.5},
            },
            textfont={"size": 12 if kept else 11, "color": None if kept else theme.NEUTRAL},
        )
    )  # fmt: skip


def _mark_words(mark: str) -> str:
    return {"aliased": "<br>shared by several items", "harmful": "<br>shared by items that are not alike"}.get(mark, "")


def _under(row: Mapping[Hashable, Any]) -> str:
    """How many relevant items stand under a prefix, and its first titles."""
    relevant, titles = row.get("n_relevant"), row.get("titles")
    said = f"<br>{int(relevant):,} of them judged relevant" if relevant is not None and relevant > 0 else ""
    if isinstance(titles, str) or not isinstance(titles, Iterable):
        return said
    return said + "".join(f"<br>· {theme.short(title, 70)}" for title in titles)
