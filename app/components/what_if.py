"""What if? The stored ranker evaluated again with values that a person sets: the exact new score and rank."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts.waterfall import arrow
from app.components.explanation import Ranker
from app.components.metric import metric_card
from app.rankers import SIGNAL_NAMES, unit
from engine.relevance.attribution import CENTRED_SUFFIX

DENSE_WIDGETS = ("dm", "mm_dm", "ct", "qs", "qs_coverage", "qs_near", "qs_numbers")


def what_if(ranker: Ranker, rows: pd.DataFrame, row: pd.Series) -> None:
    """Set the match level or a dense feature: the exact new score, and the rank among the same candidates."""
    candidates = rows[rows["retrieved"]]
    st.caption(text.DEFINITIONS["what_if"])
    own = ranker.values(pd.DataFrame([row]))[0]
    new = own.copy()
    level = int(row["match_level"] or 0)
    anew = bool(st.session_state.pop("_anew", False))
    _switch_signals(ranker, new, anew=anew)
    left, right = st.columns([3, 2])
    with left:
        if ranker.match_levels:
            _set("match", level, anew)
            level = st.select_slider(
                "SID match level", list(range(ranker.match_levels + 1)), value=level, key="match",
                bind="query-params", help=text.DEFINITIONS["match"],
            )  # fmt: skip
        for column in ranker.run.columns:
            if column.signal == "match":
                new[ranker.columns.index(column.name)] = float(column.level <= level)
        columns = st.columns(2)
        shown = [name for name in DENSE_WIDGETS if name in ranker.columns]
        missing = "mm_missing" in ranker.columns and bool(own[ranker.columns.index("mm_missing")])
        every = ranker.values(candidates) if len(candidates) else own[None]
        for i, name in enumerate(shown):
            k = ranker.columns.index(name)
            if name == "mm_dm" and missing:
                columns[i % 2].caption(f"{text.feature_name(name)}: no image embedding, nothing to set")
                continue
            values = every[:, k]
            low, high = float(min(values.min(), own[k])), float(max(values.max(), own[k]))
            if high - low < 1e-9:
                columns[i % 2].caption(f"{text.feature_name(name)}: {own[k]:.3f} for every candidate, nothing to set")
                continue
            with columns[i % 2]:
                _set(f"set_{name}", float(own[k]), anew)
                new[k] = st.slider(
                    text.feature_name(name), low, high, float(own[k]), step=(high - low) / 200, format="%.3f",
                    key=f"set_{name}", bind="query-params", help="From the lowest to the highest among this query's candidates.",
                )  # fmt: skip
            if name + CENTRED_SUFFIX in ranker.columns:  # the query's mean stays where it is
                new[ranker.columns.index(name + CENTRED_SUFFIX)] += new[k] - own[k]
        st.button("Back to its own values", icon=":material/undo:", on_click=reset, type="tertiary")
    score = float(ranker.predict(new[None], np.array([int(level)]))[0])
    others = candidates.loc[candidates["item_id"] != row["item_id"], "score"].to_numpy(dtype=float)
    rank = int((others > score).sum()) + 1
    change = score - float(row["score"])
    with right:
        grade = float(ranker.scorer.expected_grade(np.array([score]))[0])
        metric_card(
            "New score", score, define=unit(ranker.run.ranker).define,
            note=f"{arrow(change)} {change:+.3f} against its own {row['score']:.3f}; expected grade {grade:.2f}",
        )  # fmt: skip
        before = int(row["rank"]) if pd.notna(row["rank"]) else None
        metric_card(
            "New rank", rank, form="count", n=len(others) + 1, unit="items ranked", least=1,
            note=text.move(rank, before) if before else "but it was not retrieved: it would need the first stage",
        )  # fmt: skip


def _set(key: str, value: object, anew: bool) -> None:
    """Give a widget its own value, where it starts anew: an address keeps what is merely forgotten."""
    if anew:
        st.session_state[key] = value


def _switch_signals(ranker: Ranker, values: np.ndarray, *, anew: bool) -> None:
    """Take SID signals of a boosted ranker back to the query's mean candidate, in place, as a person switches them off."""
    if not ranker.signals:
        return
    names = [SIGNAL_NAMES.get(s, s) for s in ranker.signals]
    _set("signals", names, anew)
    kept = st.pills(
        "SID signals at their own value", names, selection_mode="multi", default=names, key="signals", bind="query-params",
        help="Switched off, a signal takes the value of the query's mean candidate.",
    )  # fmt: skip
    for column in ranker.run.columns:
        if column.signal in ranker.signals and SIGNAL_NAMES.get(column.signal, column.signal) not in kept:
            k = ranker.columns.index(column.name)
            values[k] = ranker.point[k]


def reset() -> None:
    """Back to the pair's own values, when the page is drawn next."""
    st.session_state.pop("other", None)
    st.session_state["_anew"] = True
