"""What became of the codes between two runs: who moved, where to, and which queries no longer mean the same."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import runs as charts
from app.components.comparing import NUMBER, Pair
from app.components.figure import figure, table
from app.components.links import address
from app.components.states import nothing
from app.fetch import Base, current, fetch, fetch_both, fetch_of
from app.queries import codebook, comparison, snapshot
from app.text import escape
from engine.audit.drift import Drift, drift

ALIKE = 0.5
"""A query's beams mean something else where less than this share of the items they reach is common to both runs."""


class Moves(NamedTuple):
    """Common items by their SIDs in both runs, and what the matching says of them."""

    rows: pd.DataFrame
    """codes, base_codes, category, n."""
    found: Drift

    @property
    def levels(self) -> int:
        """Levels that both codebooks have."""
        return len(self.found.rand)

    def share(self, level: int, part: np.ndarray | slice = slice(None)) -> float:
        """Of the items of `part` (rows), those that moved at the level (0-based) or above."""
        n = self.rows["n"].to_numpy()[part]
        return float(n[~self.found.kept[part, level]].sum() / n.sum())


@st.cache_data(max_entries=16, show_spinner=False)
def _matched(workspace: str, snapshot_id: str, two: Pair) -> Moves | None:
    rows = fetch_both(comparison.codes, two.base.snapshot_id, two.run, two.base.run_id)
    if rows.empty:
        return None
    old, new = (np.stack(rows[name].to_list()) for name in ("base_codes", "codes"))
    return Moves(rows, drift(old, new, rows["n"].to_numpy(dtype=float)))


def matched(two: Pair) -> Moves | None:
    """The codes of the two runs matched; None where they hold no item in common."""
    return _matched(str(current().workspace), current().snapshot_id, two)


def show(two: Pair) -> None:
    """Churn by level and category, the streams, and the queries that pay for it."""
    common, new, gone = fetch_both(comparison.held, two.base.snapshot_id, two.run, two.base.run_id)
    moves = matched(two)
    if moves is None:
        nothing("The two runs give SIDs to no item in common, so nothing can have moved.")
        return
    st.markdown(escape(sentence(moves, common, new, gone)))
    by_level = pd.DataFrame(
        [
            {
                "level": level + 1,
                "moved": moves.share(level),
                "rand": moves.found.rand[level],
                "codes": len(moves.found.matches[level]),
            }
            for level in range(moves.levels)
        ]
    )
    left, right = st.columns(2, gap="large")
    with left:
        figure(
            charts.churn(by_level), title="Items that moved, by level", key="churn", define="churn", data=by_level, filters=two.filters,
            n=f"{common:,} items in both, all", alt="; ".join(f"level {r['level']}: {text.number(r['moved'], 'percent')} moved" for r in by_level.to_dict("records")),
        )  # fmt: skip
    with right:
        table(
            by_level, title="The two divisions", key="rand", define="churn", filters=two.filters, n=f"{common:,} items in both, all",
            columns={
                "level": "Level", "rand": NUMBER("Agreement (adjusted Rand)", format="%.3f"), "codes": NUMBER("Codes matched", format="localized"),
            },
            percent={"moved": "Moved"},
        )  # fmt: skip
    _seeds(two)
    _streams(two, moves)
    _categories(two, moves)
    _queries(two)


def sentence(moves: Moves, common: int, new: int, gone: int) -> str:
    """How many stayed, moved, came and went."""
    first, last = moves.share(0), moves.share(moves.levels - 1)
    told = (
        f"Of {text.plural(common, 'item', 'items')} in both runs, {text.number(first, 'percent')} moved to another code at level 1 and "
        f"{text.number(last, 'percent')} to another one at level {moves.levels} or above, once every code is matched with the one it became."
    )
    return f"{told} {text.plural(new, 'item is', 'items are')} new in this run and {text.plural(gone, 'item is', 'items are')} gone; neither counts as moved."


def seeds(two: Pair) -> pd.DataFrame:
    """This run against each of its snapshot that differs in nothing but the seed: what chance alone moves.

    Columns: run_id, other_seed, moved_first and moved_deepest (shares of the items), rand_first (adjusted Rand index).
    """
    runs = fetch(snapshot.runs).set_index("run_id")
    made_by = runs["config"].map(lambda config: json.loads(config) | {"seed": None})
    alike = (made_by == made_by[two.run]) & (runs["seed"] != runs["seed"][two.run])
    made = []
    for other, seed in runs.loc[alike, "seed"].items():
        moves = matched(Pair(two.run, Base(current().snapshot_id, str(other)), "", ""))
        if moves:
            made.append((other, seed, moves.share(0), moves.share(moves.levels - 1), moves.found.rand[0]))
    return pd.DataFrame(made, columns=["run_id", "other_seed", "moved_first", "moved_deepest", "rand_first"])


def _seeds(two: Pair) -> None:
    rows = seeds(two)
    if rows.empty:
        st.caption(
            ":material/casino: How much another seed alone would move is not known: this snapshot holds no run that differs in its seed alone."
        )
        return
    first, deepest = rows["moved_first"].mean(), rows["moved_deepest"].mean()
    st.markdown(
        escape(
            f"Another seed alone, all else the same, moves {text.number(first, 'percent')} of the items at level 1 and "
            f"{text.number(deepest, 'percent')} at the deepest one (mean of {text.plural(len(rows), 'run', 'runs')}): as much says nothing of "
            "what was changed."
        )
    )
    table(
        rows, title="What another seed alone moves", key="seeds", define="churn", n=f"{text.plural(len(rows), 'run', 'runs')} with another seed, all",
        columns={"run_id": "Run", "other_seed": "Seed", "rand_first": NUMBER("Agreement at level 1 (adjusted Rand)", format="%.3f")},
        percent={"moved_first": "Moved at level 1", "moved_deepest": "Moved at the deepest level"},
    )  # fmt: skip


def streams(moves: Moves) -> pd.DataFrame:
    """Items by their level-1 code in either run, the largest stream first: base_code, code, n, moved."""
    rows = pd.DataFrame(
        {
            "base_code": [str(codes[0]) for codes in moves.rows["base_codes"]], "code": [str(codes[0]) for codes in moves.rows["codes"]],
            "moved": ~moves.found.kept[:, 0], "n": moves.rows["n"],
        }
    )  # fmt: skip
    summed = rows.groupby(["base_code", "code", "moved"])["n"].sum().reset_index()
    return summed.sort_values("n", ascending=False, kind="stable", ignore_index=True)


def _streams(two: Pair, moves: Moves) -> None:
    rows = streams(moves)
    labels = {}
    for side, snapshot_id, run in (
        ("base_code", two.base.snapshot_id, two.base.run_id),
        ("code", current().snapshot_id, two.run),
    ):
        named = fetch_of(snapshot_id, codebook.first_labels, run)
        labels[side] = dict(zip(named["prefix"], named["label"], strict=True))
    rows["base_label"] = [_label(code, labels["base_code"]) for code in rows["base_code"]]
    rows["label"] = [_label(code, labels["code"]) for code in rows["code"]]
    moved = rows[rows["moved"]]
    if moved.empty:
        st.markdown("Every item kept its level-1 code, whatever that is called now.")
        return
    figure(
        charts.flows(moved), title="Where items moved at level 1", key="flows", define="churn", data=rows, filters=two.filters,
        subtitle="From the other run's codes, left, to this one's, right; the largest streams between codes that were not matched",
        n=f"{min(len(moved), charts.MOST_FLOWS):,} of {len(moved):,} streams, {int(moved['n'].head(charts.MOST_FLOWS).sum()):,} of {int(moved['n'].sum()):,} items",
        alt=f"The largest stream: {int(moved['n'].iloc[0]):,} items from {moved['base_label'].iloc[0]} to {moved['label'].iloc[0]}.",
    )  # fmt: skip


def _label(code: str, labels: dict[str, str | None]) -> str:
    label = labels.get(code)
    return f"{code} ({label})" if label else code


def by_category(moves: Moves) -> pd.DataFrame:
    """category, n, then the share that moved at level 1 and at the deepest level both have; most moved first."""
    made = []
    for category, rows_of in moves.rows.groupby("category", dropna=False, sort=False).indices.items():
        place = np.asarray(rows_of)
        made.append(
            (
                category,
                int(moves.rows["n"].to_numpy()[place].sum()),
                moves.share(0, place),
                moves.share(moves.levels - 1, place),
            )
        )
    rows = pd.DataFrame(made, columns=["category", "n", "moved_first", "moved_last"])
    return rows.sort_values(["moved_first", "moved_last", "n"], ascending=False, kind="stable", ignore_index=True)


def _categories(two: Pair, moves: Moves) -> None:
    rows = by_category(moves)
    table(
        rows, title="Moved by category", key="churn-categories", define="churn", filters=two.filters, height=360,
        n=f"{text.plural(len(rows), 'category', 'categories')}, all",
        columns={"category": st.column_config.TextColumn("Category", width="large"), "n": NUMBER("Items in both", format="localized")},
        percent={"moved_first": "Moved at level 1", "moved_last": f"Moved at level {moves.levels} or above"},
    )  # fmt: skip


def _queries(two: Pair) -> None:
    """What drift costs: queries whose beams reach other items now."""
    rows = fetch_both(comparison.beams, two.base.snapshot_id, two.run, two.base.run_id)
    st.subheader("Queries whose beams mean something else", anchor=False, help=text.DEFINITIONS["beams_alike"])
    known = rows[rows["alike"].notna()]
    if known.empty:
        nothing("No query has beams in both runs that reach an item which both hold.")
        return
    other = known[known["alike"] < ALIKE]
    searches = known["frequency"].sum()
    st.markdown(
        escape(
            f"Of {text.plural(len(known), 'query', 'queries')} with beams in both runs that reach an item of both"
            f"{f' (the {comparison.MOST_ASKED:,} most asked)' if len(rows) == comparison.MOST_ASKED else ''}, "
            f"{len(other):,} reach other items for the most part: less than half of what the beams of either run reach is common"
            + (
                f". They carry {text.number(other['frequency'].sum() / searches, 'percent')} of the searches of these."
                if len(other) and searches
                else "."
            )
        )
    )
    table(
        rows.assign(open=[address("query", {"q": q, "view": "Beams"}) for q in rows["query_id"]]), title="Beams of both runs", key="beams-alike",
        heading=False, define="beams_alike", filters=two.filters, height=420, n=f"{text.plural(len(rows), 'query', 'queries')}, the least alike first",
        show=["open", "text", "frequency", "alike", "base_n", "n", "common", "difference"],
        columns={
            "open": st.column_config.LinkColumn("", display_text="open", width=60), "text": st.column_config.TextColumn("Query", width="large"),
            "frequency": NUMBER("Searches", format="localized"), "base_n": NUMBER("Other run reaches (items)", format="localized"),
            "n": NUMBER("This run reaches (items)", format="localized"), "common": NUMBER("Both", format="localized"),
            "difference": NUMBER("Change of nDCG@10", format="%+.3f"),
        },
        percent={"alike": "Alike"},
    )  # fmt: skip
