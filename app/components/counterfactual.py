"""The smallest single change that takes an item past another one: searched over what the ranker reads of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components.explanation import Ranker
from app.components.figure import table
from app.components.states import nothing
from app.components.what_if import DENSE_WIDGETS
from app.fetch import current
from engine.audit.counterfactual import Change, Knob, setting, smallest_changes, spread_of
from engine.audit.traffic import PAGE
from engine.relevance.attribution import CENTRED_SUFFIX

OWN_COLUMNS = ("own_grade", "own_evidence", "own_clicks", "own_words")
MATCH = "match"


class Goal(NamedTuple):
    """What a change is to reach."""

    key: str
    words: str  # 'enter the first ten' ...
    score: float  # ... which the new score has to pass ...
    rise: bool  # ... from below; else from above.


def counterfactual(ranker: Ranker, query: str, rows: pd.DataFrame, row: pd.Series, other: str | None) -> None:
    """Choose a goal; the smallest single change that reaches it, or how near the nearest comes."""
    others = rows[rows["retrieved"] & (rows["item_id"] != row["item_id"])]
    possible = goals(others, row, other)
    if not possible:
        nothing("There is no other ranked item to pass.")
        return
    words = {text.sentence(g.words): g for g in possible}  # they stand in the address
    first = next(iter(words))
    if st.session_state.get("goal", first) not in words:
        del st.session_state["goal"]  # of another pair
    chosen = st.segmented_control(
        "What should this item do?", list(words), default=first, required=True, key="goal", bind="query-params"
    )
    goal = words[str(chosen or first)]
    every = ranker.values(rows[rows["retrieved"]])
    own = ranker.values(pd.DataFrame([row]))[0]
    changes = _searched(
        current().snapshot_id, current().run_id, query, str(row["item_id"]), float(row["score"]), goal,
        ranker, own, every, row, rows[rows["retrieved"]],
    )  # fmt: skip
    st.markdown(in_words(changes, goal, row, others))
    told = pd.DataFrame([_told(c, others) for c in changes])
    if told.empty:
        return
    table(
        told,
        title="Smallest change of each thing",
        key="counterfactual",
        n=f"{text.plural(len(told), 'thing', 'things')} the ranker reads, each over the values of {len(every)} candidates",
        define="counterfactual",
        show=["enough", "what", "own", "value", "size", "score", "rank"],
        columns={
            "enough": "Reaches it", "what": st.column_config.TextColumn("What changes", width=330),
            "own": st.column_config.NumberColumn("From", format="%.3f"),
            "value": st.column_config.NumberColumn("To", format="%.3f"),
            "size": st.column_config.NumberColumn("Size, spreads", format="%.2f"),
            "score": st.column_config.NumberColumn("New score", format="%.3f"), "rank": "New rank",
        },
        filters={"query": query, "item": str(row["item_id"]), "goal": goal.words},
        height=260,
    )  # fmt: skip


def goals(others: pd.DataFrame, row: pd.Series, other: str | None) -> list[Goal]:
    """What an item can be asked to do among the `others` that are ranked: the first ten, its neighbours, a chosen one."""
    score = others["score"].to_numpy(dtype=float)
    own = float(row["score"])
    place = int((score > own).sum()) + 1
    found = []
    if len(score) >= PAGE and (place > PAGE or pd.isna(row["rank"])):
        found.append(Goal("ten", f"enter the first {PAGE}", float(np.sort(score)[-PAGE]), True))
    if (score > own).any():
        found.append(Goal("above", "pass the one above", float(score[score > own].min()), True))
    if (score < own).any():
        found.append(Goal("below", "fall behind the one below", float(score[score < own].max()), False))
    compared = others[others["item_id"] == other]
    theirs = float(compared["score"].iloc[0]) if len(compared) else own
    if theirs != own and theirs not in [g.score for g in found if g.key != "ten"]:
        words = "pass the item compared with" if theirs > own else "fall behind the item compared with"
        found.append(Goal("compared", words, theirs, theirs > own))
    return found


@st.cache_data(max_entries=64, show_spinner=False)
def _searched(
    snapshot_id: str, run_id: str, query: str, item: str, score: float, goal: Goal, _ranker: Ranker,
    _own: np.ndarray, _every: np.ndarray, _row: pd.Series, _candidates: pd.DataFrame,
) -> list[Change]:  # fmt: skip
    return smallest_changes(
        _ranker.predict, knobs(_ranker, _own, _every, _row, _candidates), goal.score, rise=goal.rise
    )


def knobs(ranker: Ranker, own: np.ndarray, every: np.ndarray, row: pd.Series, candidates: pd.DataFrame) -> list[Knob]:
    """What may be changed of an item (`own` (F,)) whose query's candidates read `every` (C, F): the match level, every
    column of a SID signal, the dense features, what is known of the very item."""
    depth = int(row["match_level"]) if pd.notna(row["match_level"]) else 0
    found = [_match(ranker, own, depth, candidates)] if ranker.match_levels else []
    missing = "mm_missing" in ranker.columns and bool(own[ranker.columns.index("mm_missing")])
    signals = [c.name for c in ranker.run.columns if c.signal and c.signal != "match"]
    for name in (*DENSE_WIDGETS, *OWN_COLUMNS, *signals):
        if name not in ranker.columns or (name == "mm_dm" and missing):
            continue
        at = [ranker.columns.index(name)]
        if name + CENTRED_SUFFIX in ranker.columns:  # the query's mean stays where it is
            at.append(ranker.columns.index(name + CENTRED_SUFFIX))
        values = every[:, at[0]]
        if name == "mm_dm" and "mm_missing" in ranker.columns:
            values = values[every[:, ranker.columns.index("mm_missing")] == 0]
        found.append(setting(at, own, values, depth, name=name))
    return found


def _match(ranker: Ranker, own: np.ndarray, depth: int, candidates: pd.DataFrame) -> Knob:
    """The match level set to every other level."""
    levels = np.array([level for level in range(ranker.match_levels + 1) if level != depth])
    rows = np.repeat(own[None], len(levels), axis=0)
    for column in ranker.run.columns:
        if column.signal == "match":
            rows[:, ranker.columns.index(column.name)] = levels >= column.level
    spread = spread_of(candidates["match_level"].to_numpy(dtype=float, na_value=0.0))
    return Knob(MATCH, rows, levels, levels.astype(float), float(depth), spread)


def rank_of(score: float, others: pd.DataFrame) -> int:
    """The place of a score among the others."""
    return int((others["score"].to_numpy(dtype=float) > score).sum()) + 1


def in_words(changes: list[Change], goal: Goal, row: pd.Series, others: pd.DataFrame) -> str:
    """The smallest change that suffices, or that none does and how near the nearest comes."""
    if not changes:
        return "Nothing that the ranker reads of this item differs among the candidates, so nothing can be searched."
    first = changes[0]
    step = f"**{text.escape(text.column_name(first.name))}** from {first.own:.3f} to {first.value:.3f}"
    if first.enough:
        n = sum(c.enough for c in changes)
        more = f" {n - 1} other single {'change does' if n == 2 else 'changes do'} it too." if n > 1 else ""
        return (
            f"To {goal.words}, the smallest single change is {step} ({first.size:.2f} spreads of this query's candidates): "
            f"score {row['score']:.3f} → {first.score:.3f}, rank {rank_of(first.score, others)}.{more}"
        )
    gap = abs(goal.score - first.score)
    return (
        f"No single change within what this query's candidates have makes it {goal.words}. Nearest: {step} gives "
        f"{first.score:.3f}, {gap:.3f} short of {goal.score:.3f}, rank {rank_of(first.score, others)}."
    )


def _told(change: Change, others: pd.DataFrame) -> dict[str, object]:
    return {
        "enough": "yes" if change.enough else "no", "what": text.column_name(change.name), "own": change.own,
        "value": change.value, "size": change.size, "score": change.score, "rank": rank_of(change.score, others),
        "column": change.name,
    }  # fmt: skip
