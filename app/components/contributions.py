"""The contributions of one pair in words: the names of its features, the waterfall, one sentence to copy."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import waterfall as charts
from app.components import names
from app.components.explanation import SPLITS, Explanation, depth_of, shown_run, split
from app.components.figure import figure
from app.components.states import bad_parameter
from app.fetch import current, fetch
from app.queries import explain as queries
from app.rankers import BOOSTED, SIGNAL_MEANINGS, SIGNAL_NAMES, learner, unit

TOLERANCE = 1e-6  # what contributions may miss the score by
NAMED = 2  # reasons on either side in the sentence
UNHEARD = 0.005  # a contribution that two decimals show as 0.00
NO_MATCH = "no match: 0.00"
WORDLESS = "its title holds none of the query's words"


def how_split(made: Explanation) -> str:
    """How the SID's part is shown, chosen on the page where there is more than one way."""
    names = list(SPLITS)
    if not any("." in feature for feature in made.features):
        return names[0]
    asked = st.query_params.get("split")
    if asked and asked not in names:
        bad_parameter("split", asked, f"Shown instead: {names[0]}.")
    by = st.segmented_control(
        "Split the SID's part by", names, default=names[0], required=True, key="split", bind="query-params",
        help=text.DEFINITIONS["split"],
    )  # fmt: skip
    return by or names[0]


def labels(sid: object) -> dict[int, str]:
    """The name of the code of each level of a SID that has one."""
    if not isinstance(sid, str):
        return {}
    rows = names.renamed(fetch(queries.prefix_labels, current().run_id, sid))
    return {int(r["level"]): r["label"] for r in rows.to_dict("records") if isinstance(r["label"], str)}


def named(made: Explanation, item: pd.Series, row: pd.Series | None) -> pd.DataFrame:
    """feature, name (of its line in the waterfall), part (of the line), note (said in place of a number), value.

    A signal's levels are parts of its line, so is nothing else. `row`: the pair's scored row, where there is one: an absent
    image is named as absent, and a match that is none says so.
    """
    names, depth = labels(item["sid"]), None if row is None else depth_of(row)
    alone_match = learner(shown_run().ranker) != BOOSTED  # the SID is its match and nothing else
    rows = []
    for feature, value in zip(made.features, made.values, strict=True):
        head, dot, signal = feature.partition(".")
        level = _level(head)
        stacked = bool(dot) and level > 0
        name = text.feature_name(f"sid.{signal}" if stacked else feature, names.get(level))
        if level and not dot and not alone_match:
            name += ", all signals"
        if feature == "mm_dm" and row is not None and row["mm_missing"] == 1:
            name = "No image (mm_dm)"
        unmatched = signal in ("", "match") and head.startswith("sid") and depth is not None and depth < max(level, 1)
        alone = signal == "match" or alone_match
        if unmatched and not alone:  # other signals of the level speak all the same
            name += ", no match"
        note = NO_MATCH if unmatched and alone and abs(value) < UNHEARD else ""
        rows.append((feature, name, f"level {level}" if stacked else "", note, value))
    made_rows = pd.DataFrame(rows, columns=["feature", "name", "part", "note", "value"])
    order = pd.factorize(made_rows["name"])[0]  # a signal's levels stand together
    return made_rows.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def _level(head: str) -> int:
    """Prefix level of a SID's part; 0 for any other feature."""
    number = head.removeprefix("sid_")
    return int(number) if head.startswith("sid_") and number.isdigit() else 0


def signals_in_words(made: Explanation) -> None:
    """What each SID signal of the explanation measures."""
    shown = dict.fromkeys(f.partition(".")[2] for f in made.features if "." in f)
    told = [f"{SIGNAL_NAMES[s]}: {SIGNAL_MEANINGS[s]}." for s in shown if s in SIGNAL_NAMES]
    if "own" in made.features:
        told.append(f"{text.FEATURE_NAMES['own']}, no SID signal: {text.DEFINITIONS['own']}")
    if told:
        with st.expander("What the SID signals measure", icon=":material/help:"):
            st.markdown("\n".join(f"- {text.escape(line)}" for line in told))


def contributions(made: Explanation, parts: pd.DataFrame, query: str, item: pd.Series) -> None:
    """The waterfall and the check of its sum."""
    total = made.reference + float(made.values.sum())
    largest = parts.iloc[int(parts["value"].abs().to_numpy().argmax())]
    step = " ".join(str(largest[c]) for c in ("name", "part") if largest[c])
    figure(
        charts.waterfall(parts, made.reference, made.score, unit(shown_run().ranker).axis),
        title="From the reference to the score",
        key="waterfall",
        data=parts,
        n=f"1 pair, exact over all coalitions; {made.origin}",
        alt=f"Waterfall from {made.reference:.2f} to {made.score:.2f}; the largest step is {step} "
        f"with {largest['value']:+.3f}",
        define="contributions",
        filters={"query": query, "item": str(item["item_id"])},
        subtitle="Steps to the right (▲) raise the score, steps to the left (▼) lower it.",
    )
    off = abs(total - made.score)
    sums = (
        f"reference {made.reference:.6f} + contributions {made.values.sum():+.6f} = {total:.6f}; score {made.score:.6f}"
    )
    if off > TOLERANCE:
        st.error(
            f"The contributions miss the score by {off:.2e}: do not trust this explanation. {sums}",
            icon=":material/error:",
        )
    else:
        st.caption(
            f":material/check: {sums}; they differ by {off:.1e}, under {TOLERANCE:.0e}.",
            help=text.DEFINITIONS["reference"],
        )


def in_a_sentence(made: Explanation, query: str, title: str, row: pd.Series, n: int) -> str:
    """Rank with and without SIDs, the match, and the largest reasons for and against by the served ranker: to be copied."""
    place = text.place(row["rank"], row["retrieved"]) + (f" of {n}" if row["retrieved"] else "")
    without = text.place(row["rank_without_sid"], row["retrieved"])
    where = f"“{text.shortened(title, 120)}” for “{text.shortened(query, 120)}”: {place} with SIDs"
    if row["retrieved"] and pd.notna(row["rank_without_sid"]):
        where += f", {without} without them (another ranker, trained apart)"
    depth = depth_of(row)
    if depth is not None:
        levels = shown_run().levels
        where += ". " + (
            "No beam matches its SID" if depth == 0 else f"Beam {int(row['beam_rank'])} matches its SID down to level {depth} of {levels}"
        )  # fmt: skip
    by = split(made, "signals")
    parts = sorted(zip(by.features, by.values.tolist(), strict=True), key=lambda p: -abs(p[1]))
    raised = [p for p in parts if p[1] >= UNHEARD][:NAMED]
    lowered = [p for p in parts if p[1] <= -UNHEARD][:NAMED]
    reasons = [
        f"{start} {text.listed([f'{reason(f)} ({v:+.2f}{besides(f, v, row)})' for f, v in chosen])}"
        for start, chosen in (("raised most by", raised), ("lowered most by", lowered))
        if chosen
    ]
    told = "; ".join(reasons) or "no feature moves it by more than 0.00"
    return f"{where}. Against this query's mean candidate its score is {told}."


def reason(feature: str) -> str:
    """A feature in plain words for a sentence: 'text similarity', 'SIDs: words under the code'."""
    head, _, signal = feature.partition(".")
    if signal:
        return f"SIDs: {_lower(SIGNAL_NAMES.get(signal, signal))}"
    if head.startswith("sid_"):
        return f"the SID's level {head.removeprefix('sid_')}"
    return _lower(text.FEATURE_NAMES.get(head, head))


def besides(feature: str, value: float, row: pd.Series) -> str:
    """What a reader must know beside a contribution that its name alone would belie: a word match without words."""
    return f", though {WORDLESS}" if wordless(feature, value, row) else ""


def wordless(feature: str, value: float, row: pd.Series) -> bool:
    """Whether the lexical columns raise the score of an item whose title holds none of the query's words."""
    return feature == "qs" and value >= UNHEARD and row.get("qs_coverage") == 0


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
