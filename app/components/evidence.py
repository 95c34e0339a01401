"""What lies behind a SID signal of one pair: the beam, like past queries, words of titles, fellow candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components import live
from app.components.answer import Answer, labels
from app.components.explanation import Explanation, Ranker, depth_of
from app.components.figure import table
from app.components.states import nothing
from app.fetch import current
from app.rankers import SIGNAL_MEANINGS, SIGNAL_NAMES
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.answering.evidence import Fellows, LikePast, Words

MATCH = "match"
FLOOR = -19.9  # log probabilities are cut at -20


class Pair(NamedTuple):
    """What evidence is asked of."""

    given: Answer
    made: Explanation
    ranker: Ranker
    row: pd.Series  # Of the scores.
    item: pd.Series  # Of the catalogue, with its SID.

    @property
    def filters(self) -> Mapping[str, object]:
        """For exports."""
        return {"query": self.given.text, "item": str(self.item["item_id"])}


def evidence(pair: Pair) -> None:
    """Choose a signal; what it read of the pair, and what that rests on."""
    signals = [*([MATCH] if pair.ranker.match_levels else []), *pair.ranker.signals]
    if not signals or not isinstance(pair.item["sid"], str):
        nothing("The ranker reads no SID signal of this item.")
        return
    of = {s: _contribution(pair.made, s) for s in signals}
    names = {SIGNAL_NAMES.get(s, s): s for s in signals}  # the words stand in the address
    first = SIGNAL_NAMES.get(largest := max(signals, key=lambda s: abs(of[s])), largest)
    chosen = st.segmented_control(
        "Signal", list(names), required=True, default=first, key="signal", bind="query-params"
    )
    signal = names[str(chosen or first)]
    means = f"{text.escape(SIGNAL_MEANINGS[signal])}. " if signal in SIGNAL_MEANINGS else ""
    st.caption(
        f"{SIGNAL_NAMES.get(signal, signal)}: {means}It adds {of[signal]:+.2f} to this score.",
        help=text.DEFINITIONS["contributions"],
    )
    show: dict[str, Callable[[Pair], None]] = {
        MATCH: _match, "logp": _logp, "memory": _memory, "cluster": _words, "list": _fellows,
    }  # fmt: skip
    show.get(signal, lambda pair: None)(pair)
    if pair.ranker.signals:
        with st.expander("What the ranker read of it", icon=":material/data_object:"):
            _read(pair, signal)


def _contribution(made: Explanation, signal: str) -> float:
    """What a signal adds, all levels together; of an MLP, whose SID is the match alone, all SID levels."""
    alone = not any("." in f for f in made.features)
    mine = [f == signal if not alone else h.startswith("sid_") for h, _, f in (f.partition(".") for f in made.features)]
    return float(made.values[np.array(mine, dtype=bool)].sum())


def _read(pair: Pair, signal: str) -> None:
    """Every column of the signal: the pair's value beside the mean candidate's."""
    own = pair.ranker.values(pd.DataFrame([pair.row]))[0]
    columns = [c for c in pair.ranker.run.columns if c.signal == signal]
    at = [pair.ranker.columns.index(c.name) for c in columns]
    told = pd.DataFrame(
        {
            "what": [text.column_name(c.name) for c in columns],
            "value": own[at],
            "mean": pair.ranker.point[at],
            "column": [c.name for c in columns],
        }
    )
    table(
        told,
        title="What the ranker read of this signal",
        key="read",
        heading=False,
        n=f"{text.plural(len(told), 'column', 'columns')}, all of the signal",
        define="evidence",
        columns={
            "what": st.column_config.TextColumn("What", width="large"),
            "value": st.column_config.NumberColumn("This pair", format="%.3f"),
            "mean": st.column_config.NumberColumn("Mean candidate", format="%.3f"),
            "column": "Column",
        },
        filters={**pair.filters, "signal": signal},
        height="content",
    )


def _named(prefix: str, names: Mapping[str, str]) -> str:
    """A code by its name and prefix, as Markdown."""
    return f"“{text.escape(names.get(prefix) or 'no name')}” ({text.escape(prefix)})"


def _prefixes(sid: str) -> list[str]:
    codes = sid.split("-")
    return ["-".join(codes[: i + 1]) for i in range(len(codes))]


def _match(pair: Pair) -> None:
    """Which beam agrees with the item, and how far each does."""
    beams, own = pair.given.beams, _prefixes(str(pair.item["sid"]))
    if beams.empty:
        nothing("No beams were stored for this query.")
        return
    agrees = [sum(p == q for p, q in zip(_prefixes(str(sid)), own, strict=False)) for sid in beams["sid"]]
    names = labels(current().run_id, pd.Series([*beams["sid"], *own]))
    depth = depth_of(pair.row) or 0
    if depth:
        beam = beams[beams["rank"] == pair.row["beam_rank"]].iloc[0]
        st.markdown(
            f"Beam {int(beam['rank'])} of {len(beams)}, {_named(str(beam['sid']), names)}{_chance(beam['log_prob'])}, agrees with "
            f"the item's SID down to level {depth} of {len(own)}, {_named(own[depth - 1], names)}."
        )
    else:
        st.markdown(
            f"**No match**: none of the {len(beams)} beams begins with the item's first code, {_named(own[0], names)}. The match "
            "adds 0.00."
        )
    told = pd.DataFrame(
        {
            "rank": beams["rank"],
            "name": [names.get(str(sid), "") for sid in beams["sid"]],
            "sid": beams["sid"],
            "probability": np.exp(beams["log_prob"].astype(float)),
            "agrees": agrees,
        }
    )
    table(
        told,
        title="The query's beams beside the item",
        key="evidence-match",
        n=f"{text.plural(len(told), 'beam', 'beams')}, all",
        define="beam",
        percent={"probability": "Probability"},
        columns={
            "rank": st.column_config.NumberColumn("Beam", width="small"), "name": "Name of the code", "sid": "SID",
            "agrees": st.column_config.NumberColumn("Agrees down to level", help="0: not even the first code"),
        },
        filters=pair.filters,
        height="content",
    )  # fmt: skip


def _chance(log_prob: float | None) -> str:
    """', probability 12.3 %' where it is known."""
    return (
        "" if log_prob is None or pd.isna(log_prob) else f", probability {text.number(math.exp(log_prob), 'percent')}"
    )


def _logp(pair: Pair) -> None:
    """How probable the generator finds each of the item's prefixes, against its usual share, and how the beam met it."""
    own = _prefixes(str(pair.item["sid"]))
    names = labels(current().run_id, pd.Series(own))
    values = dict(zip(pair.ranker.columns, pair.ranker.values(pd.DataFrame([pair.row]))[0], strict=True))
    nodes = {str(n["prefix"]): n for n in pair.given.nodes.to_dict("records")}
    rows = []
    for level, prefix in enumerate(own, 1):
        log_prob, pmi = values.get(f"logp_{level}", np.nan), values.get(f"pmi_{level}", np.nan)
        node = nodes.get(prefix)
        met = (
            "not among the stored branches"
            if node is None
            else f"branch {int(node['rank'])}, {'kept' if node['kept'] else 'pruned'}"
        )
        usual, times = float(np.exp(log_prob - pmi)), float(np.exp(pmi))
        rows.append((level, names.get(prefix, ""), prefix, 100 * float(np.exp(log_prob)), 100 * usual, times, met))
    told = pd.DataFrame(rows, columns=["level", "name", "prefix", "probability", "usual", "times", "met"])
    first = told.iloc[0]
    floor = " or less" if values.get("logp_1", 0.0) <= FLOOR else ""
    st.markdown(
        f"Of all first codes the generator gives the item's, {_named(own[0], names)}, {_rare(first['probability'])}{floor} for this "
        f"query; {_rare(first['usual'])} is its usual share of what past queries led to: {_times(first['times'])}. In the "
        f"beam search: {first['met']}."
    )
    table(
        told,
        title="The item's codes in the eyes of the generator",
        key="evidence-logp",
        n=f"{text.plural(len(told), 'level', 'levels')}, all",
        define="evidence_logp",
        columns={
            "probability": st.column_config.NumberColumn("Probability from the root (%)", format="%.3g"),
            "usual": st.column_config.NumberColumn("Usual share (%)", format="%.3g"),
            "level": "Level", "name": "Name of the code", "prefix": "Code", "met": "In the beam search",
            "times": st.column_config.NumberColumn("Times as probable", format="%.2f"),
        },
        filters=pair.filters,
        height="content",
    )  # fmt: skip


def _rare(percent: float) -> str:
    """A percentage that may be very small, to two digits."""
    return f"{percent:.2g} %" if percent < 10 else f"{percent:.0f} %"


def _times(factor: float) -> str:
    """How many times as much, in words that fit large and small factors."""
    return f"{factor:,.0f} times as much" if factor >= 10 else f"{factor:.2f} times as much"


def _behind(kind: str, pair: Pair) -> Any:
    """What the run's own model says is behind a signal; None while it cannot, which was then told."""
    where = current()
    model = live.model(str(where.workspace), where.run_id)
    if model.state == "warming":
        live.wait(model)
        return None
    if model.state == "failed":
        nothing(
            f"The signal's memory is not in the snapshot, and the run's model cannot be asked: {text.escape(model.reason)}."
        )
        return None
    try:
        query, item = pair.given.text, str(pair.item["item_id"])
        return model.ask(lambda run: getattr(run, kind)(query, item), kind, query, item)
    except EngineError as error:
        nothing(text.escape(error))
        return None


LIVE = "asked of the run's own model just now"


def _together(n: int, levels: int) -> dict[str, Any]:
    """Column headers for how many clusterings hold two items together."""
    return {
        "shared": st.column_config.NumberColumn("Own codes in common", help=text.DEFINITIONS["clusterings"]),
    } | {
        f"together_{level}": st.column_config.NumberColumn(f"Level {level}, of {n}", help=text.DEFINITIONS["clusterings"])
        for level in range(1, levels + 1)
    }  # fmt: skip


def _of_clusterings(n: int) -> str:
    """What the signal is a mean over."""
    return f"The signal is a mean over {n} clusterings: this run's own SIDs and {n - 1} made of titles alone" if n > 1 else (
        "The signal reads this run's own SIDs alone"
    )  # fmt: skip


def _memory(pair: Pair) -> None:
    """Feedback of the nearest past queries on items that share a code with this one."""
    found: LikePast | None = _behind("like_past", pair)
    if found is None:
        return
    n, pieces, asked = found.n_clusterings, found.pieces, found.queries
    own = int((pieces["shared"] > 0).sum())
    grades, clicks = ((asked["kind"] == k).sum() for k in ("grade", "click"))
    st.markdown(
        f"Read were the {grades} graded and {clicks} clicked past queries whose texts are nearest to this one by embedding "
        f"({_cosines(asked)}); a nearer one counts more. "
        f"{text.plural(len(pieces), 'piece', 'pieces')} of their feedback {'is' if len(pieces) == 1 else 'are'} on items that some "
        f"clustering holds together with this one, {own} of them on items under this run's own first code. {_of_clusterings(n)}."
    )
    if pieces.empty:
        return
    levels = sum(c.startswith("together_") for c in pieces.columns)
    shown = pieces.assign(
        said=[
            f"grade {v:.1f}" if k == "grade" else f"{v:.0%} of its clicks"
            for k, v in zip(pieces["kind"], pieces["value"], strict=True)
        ]
    )
    table(
        shown.head(2_000),
        title="What like past queries found under the item's codes",
        key="evidence-memory",
        n=f"{min(len(shown), 2_000):,} of {text.plural(len(shown), 'piece', 'pieces')} of feedback; {LIVE}",
        define="evidence_memory",
        show=["text", "cosine", "weight", "title", "said", "shared", *[f"together_{i + 1}" for i in range(levels)]],
        columns={
            "text": st.column_config.TextColumn("Past query", width="medium"),
            "cosine": st.column_config.NumberColumn("Cosine of the queries", format="%.2f"),
            "weight": st.column_config.NumberColumn("Counts", format="%.2f", help="1: the nearest past query"),
            "title": st.column_config.TextColumn("Item", width="medium"), "said": "It found",
        } | _together(n, levels),
        full=lambda: shown,
        filters=pair.filters,
        height=300,
    )  # fmt: skip


def _cosines(asked: pd.DataFrame) -> str:
    """The span of the nearest queries' similarities."""
    return f"cosine {asked['cosine'].max():.2f} down to {asked['cosine'].min():.2f}" if len(asked) else "none was found"


def _words(pair: Pair) -> None:
    """How often the query's words stand in the titles under the item's codes."""
    found: Words | None = _behind("words", pair)
    if found is None:
        return
    rows, n = found.rows, found.n_clusterings
    if rows.empty:
        st.markdown(f"No title of the catalogue holds a word of this query ({text.escape(', '.join(found.unknown))}).")
        return
    first = rows[rows["level"] == 1]
    told = text.listed(
        [f"“{text.escape(r['word'])}” in {r['holding']} of {r['titles']}" for r in first.to_dict("records")]
    )
    missing = (
        f" No title at all holds {text.escape(text.listed([f'“{w}”' for w in found.unknown]))}."
        if found.unknown
        else ""
    )
    st.markdown(
        f"Titles under the item's first code that hold the query's words: {told}.{missing} {_of_clusterings(n)}."
    )
    table(
        rows.assign(own=rows["holding"] / rows["titles"]),
        title="The query's words under the item's codes",
        key="evidence-words",
        n=f"{text.plural(len(first), 'word', 'words')} at {text.plural(rows['level'].nunique(), 'level', 'levels')}; "
        f"{LIVE}",
        define="evidence_words",
        show=["word", "level", "holding", "titles", "own", "share", "everywhere"],
        percent={"own": "Share", "share": f"Share, mean of {n} clusterings"},
        columns={
            "word": "Word (stem)", "level": "Level", "holding": "Titles under the code with it", "titles": "Titles under the code",
            "everywhere": "Titles anywhere with it",
        },
        filters=pair.filters,
        height="content",
    )  # fmt: skip


def _fellows(pair: Pair) -> None:
    """Which of the query's first candidates stand under the item's codes."""
    found: Fellows | None = _behind("fellows", pair)
    if found is None:
        return
    rows, n = found.rows, found.n_clusterings
    levels = sum(c.startswith("together_") for c in rows.columns)
    counted = [int((rows["shared"] >= level).sum()) for level in range(1, levels + 1)]
    by_level = text.listed([f"{c} under its level-{i} code" for i, c in enumerate(counted, 1)])
    some = rows[rows["together_1"] > 0]
    st.markdown(
        f"Of the query's other {len(rows)} first candidates (before ranking), {by_level}; {len(some)} share a first code with it "
        f"in some clustering. {_of_clusterings(n)}; earlier candidates count more."
    )
    ranked = dict(zip(pair.given.scores["item_id"], pair.given.scores["rank"], strict=True))
    order = [f"together_{i}" for i in range(1, levels + 1)]
    shown = rows.assign(rank=rows["item_id"].map(ranked)).sort_values(
        ["shared", *reversed(order), "first_stage_rank"], ascending=[False] * (levels + 1) + [True]
    )
    table(
        shown,
        title="Fellow candidates",
        key="evidence-list",
        n=f"{text.plural(len(rows), 'candidate', 'candidates')}, all the signal reads; {LIVE}",
        define="evidence_list",
        show=["title", "first_stage_rank", "weight", "rank", "shared", *order],
        columns={
            "title": st.column_config.TextColumn("Candidate", width="large"), "first_stage_rank": "Place before ranking",
            "weight": st.column_config.NumberColumn("Counts", format="%.2f"), "rank": "Rank with SIDs",
        } | _together(n, levels),
        filters=pair.filters,
        height=300,
    )  # fmt: skip
