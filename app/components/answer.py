"""What the system answers to a query: from the snapshot where it is stored, else generated live."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import streamlit as st

from app.components import live, names
from app.components.states import imported
from app.fetch import current, fetch
from app.queries import explain as explain_queries
from app.queries import query as queries
from app.text import DEFINITIONS, escape
from engine.errors import EngineError


@dataclass(frozen=True)
class Answer:
    """A query with its beams, its scored items and the reference of their explanations.

    `query` is the row of table `queries`, None for a text that the snapshot does not hold. `contributions` and
    `reference` are filled for live answers; stored ones are fetched a pair at a time.
    """

    text: str
    query: pd.Series | None
    live: bool
    beams: pd.DataFrame
    nodes: pd.DataFrame
    free_beams: pd.DataFrame
    scores: pd.DataFrame
    timings_ms: Mapping[str, float]
    contributions: pd.DataFrame = field(default_factory=pd.DataFrame)
    reference: Mapping[str, float] = field(default_factory=dict)

    @property
    def query_id(self) -> str | None:
        """The snapshot's id of the query."""
        return None if self.query is None else str(self.query["query_id"])


RANKS = ("rank", "rank_without_sid", "first_stage_rank", "match_level", "beam_rank")


def _plain(scores: pd.DataFrame) -> pd.DataFrame:
    """Scored items with ranks as floats, NaN where unknown (a nullable integer has no truth value)."""
    scores = scores.astype(dict.fromkeys(RANKS, "float64"))
    # All unknown: of an imported run without SIDs or beams.
    matched = scores["match_level"].notna().any()
    return scores.assign(match_level=scores["match_level"].fillna(0.0)) if matched else scores


def answer(text: str, *, fresh: bool = False) -> Answer | None:
    """The answer to what a person typed or a link names (a text or a query id); None while it cannot be given.

    Stored answers are taken as they are unless `fresh`. A page that gets None has already been told why: the
    model is warming, or cannot be loaded.
    """
    where = current()
    began = time.perf_counter()
    found = fetch(queries.find_query, where.run_id, text)
    known = None if found.empty else found.iloc[0]
    if known is not None and known["cached"] and not fresh:
        id = str(known["query_id"])
        beams, nodes, free = (
            fetch(q, where.run_id, id) for q in (queries.beams, queries.beam_nodes, queries.free_beams)
        )
        scores = _plain(fetch(queries.scores, where.run_id, id))
        read = {"read": 1000 * (time.perf_counter() - began)}
        return Answer(str(known["text"]), known, False, beams, nodes, free, scores, read)
    model = live.model(str(where.workspace), where.run_id)
    if model.state == "warming":
        live.wait(model)
        return None
    if model.state == "failed":
        live.unavailable(model)
        return None
    words = str(known["text"]) if known is not None else text
    try:
        result = model.query(words)
    except EngineError as error:
        st.error(f"This query could not be answered: {escape(error)}", icon=":material/error:")
        return None
    times = result.timings_ms | {"import": 1000 * model.waited}
    answered = Answer(
        words, known, True, result.beams, result.beam_nodes, result.free_beams, _unranked(), times
    )  # fmt: skip
    if result.scores is None or result.contributions is None:
        return answered
    return replace(
        answered, scores=_plain(result.scores), contributions=result.contributions, reference=result.reference
    )


def _unranked() -> pd.DataFrame:
    """Scored items of a query for which nothing was ranked: none."""
    return _plain(fetch(queries.scores, current().run_id, ""))


def origin(given: Answer) -> None:
    """One line: stored or live, and how long it took, part by part."""
    times = given.timings_ms
    if not given.live:
        what = "beams" if given.scores.empty else "beams and scores"
        st.caption(
            f":material/inventory_2: **From the snapshot**: {what} were "
            f"{'imported' if imported() else 'computed when the run was trained'}; read in {times['read']:,.0f} ms."
        )
        return
    parts = " · ".join(
        f"{name} {times[name]:,.0f} ms" for name in ("encode", "beam", "score", "total") if name in times
    )
    once = f" Loading the model took {times['import'] / 1000:,.1f} s, once per server." if "import" in times else ""
    st.caption(f":material/bolt: **Generated live**: {parts}.{once}")
    if bool((given.scores["mm_missing"] == 1).all()) and fetch(queries.has_images, current().run_id):
        st.caption(
            ":material/hide_image: Image match is unknown for a live answer, so scores and ranks may differ from a stored one.",
            help=DEFINITIONS["live_image"],
        )


def labels(run_id: str, prefixes: pd.Series) -> dict[str, str]:
    """Label of each prefix that has one."""
    facts = names.renamed(fetch(queries.prefix_facts, run_id, tuple(sorted(set(prefixes.dropna())))))
    return {p: str(label) for p, label in zip(facts["prefix"], facts["label"], strict=True) if pd.notna(label)}


def reference(given: Answer) -> pd.Series | None:
    """The point that the run's contributions are measured from; None where it was not stored."""
    if given.live:
        return pd.Series(dict(given.reference)) if given.reference else None
    rows = fetch(explain_queries.reference, current().run_id, given.query_id)
    return None if rows.empty else rows.iloc[0]
