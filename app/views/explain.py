"""Explain: why one item scores as it does for one query, what separates it from another, and what would change it."""

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import waterfall as charts
from app.components import items, live, ranking
from app.components.answer import Answer, answer, origin, reference
from app.components.explanation import SPLITS, Explanation, Ranker, explain, load_ranker, shown_run, split
from app.components.figure import chosen_row, figure, table
from app.components.links import button, choose, link
from app.components.metric import metric_card
from app.components.states import bad_parameter, has_run, header, imported, lacks, nothing, panel, unfilled
from app.components.what_if import reset, what_if
from app.components.words import word_match
from app.fetch import current, fetch
from app.queries import explain as queries
from app.rankers import BOOSTED, SIGNAL_MEANINGS, SIGNAL_NAMES, learner, unit
from engine.errors import EngineError
from engine.relevance.attribution import minimal_swap

NAMED = 2  # terms of a code's name on a link: it does not wrap
TOLERANCE = 1e-6  # what contributions may miss the score by


def facts(given: Answer, row: pd.Series, item: pd.Series) -> None:
    """Query and item, the SID with its labels, and the beam that matched."""
    run = current().run_id
    labels = fetch(queries.prefix_labels, run, str(item["sid"])) if pd.notna(item["sid"]) else pd.DataFrame()
    left, right = st.columns(2)
    with left:
        st.caption("Query")
        st.text(given.text)
        origin(given)
        link("query", "Beams and ranking of this query", {"q": given.query_id or given.text, "item": item["item_id"]})
    with right:
        st.caption("Item")
        st.text(str(item["title"]))
        parts = [
            f"seller {item['seller']}" if pd.notna(item["seller"]) else None,
            str(item["category"]) if pd.notna(item["category"]) else None,
            f"{item['price']:,.2f} {item['currency'] or ''}".strip() if pd.notna(item["price"]) else None,
            f"grade {row['grade']:.1f}" if pd.notna(row["grade"]) else "not judged",
            f"id {item['item_id']}",
        ]
        st.caption(text.escape(" · ".join(p for p in parts if p)))
        if labels.empty:
            st.caption("This item has no SID in this run.")
        for level in labels.to_dict("records"):
            link(
                "codebook",
                f"{_agrees(row['match_level'], level['level'])}{text.escape(level['prefix'])} · "
                f"{text.escape(' · '.join(str(level['label'] or 'no name').split(' · ')[:NAMED]))} · "
                f"{text.plural(level['n_items'], 'item', 'items')}",
                {"code": level["prefix"]},
            )
        if row["match_level"] > 0:
            st.caption(f"✓: the beam of rank {int(row['beam_rank'])} agrees so far down; ✗: no beam does.")
        elif not labels.empty and pd.notna(row["match_level"]):
            st.caption("✗: no beam of the query agrees with its first code.")


def _agrees(match_level: float | None, level: int) -> str:
    """Whether a beam agrees with the item down to a level; nothing where that is unknown."""
    if match_level is None or pd.isna(match_level):
        return ""
    return "✓ " if match_level >= level else "✗ "


def scores(row: pd.Series, n: int) -> None:
    """The three scores of the pair, each named for what it serves."""
    first, second, third = st.columns(3)
    with first:
        metric_card(
            "Score with SIDs",
            row["score"],
            define=unit(shown_run().ranker).define,
            note=_place(row["rank"], row["retrieved"], n),
        )
    with second:
        metric_card(
            "SID switched off", row["score_sid_off"], define="sid_off", note="the same ranker: serves explanations"
        )
    with third:
        metric_card(
            "Score without SIDs", row["score_without_sid"], define="without",
            note=f"{_place(row['rank_without_sid'], row['retrieved'], n)}; another ranker: serves comparisons",
        )  # fmt: skip


def _place(rank: float | None, retrieved: bool, n: int) -> str:
    return text.place(rank, retrieved) + (f" of {n}" if retrieved else "")


def named(made: Explanation, item: pd.Series, *, no_image: bool) -> pd.DataFrame:
    """Contributions with the name of each feature: SID levels with their label, the image match as absent where it is."""
    labels: dict[int, str] = {}
    if pd.notna(item["sid"]):
        rows = fetch(queries.prefix_labels, current().run_id, str(item["sid"]))
        labels = {int(r["level"]): r["label"] for r in rows.to_dict("records") if isinstance(r["label"], str)}
    names = [text.feature_name(f, labels.get(_level(f))) for f in made.features]
    if no_image and "mm_dm" in made.features:
        names[made.features.index("mm_dm")] = "No image (mm_dm)"
    return pd.DataFrame({"feature": made.features, "name": names, "value": made.values})


def _level(feature: str) -> int:
    """Prefix level of a SID's part; 0 for any other feature."""
    return int(feature.split(".")[0].removeprefix("sid_")) if feature.startswith("sid_") else 0


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


def signals_in_words(made: Explanation) -> None:
    """What each SID signal of the explanation measures."""
    shown = dict.fromkeys(f.partition(".")[2] for f in made.features if "." in f)
    told = [f"{SIGNAL_NAMES[s]}: {SIGNAL_MEANINGS[s]}." for s in shown if s in SIGNAL_NAMES]
    if "own" in made.features:
        told.append(f"{text.FEATURE_NAMES['own']}, no SID signal: {text.DEFINITIONS['own']}")
    if told:
        with st.expander("What the SID signals measure", icon=":material/help:"):
            st.markdown("\n".join(f"- {text.escape(line)}" for line in told))


def contributions(made: Explanation, parts: pd.DataFrame, given: Answer, item: pd.Series) -> None:
    """The waterfall and the check of its sum."""
    total = made.reference + float(made.values.sum())
    largest = parts.iloc[int(parts["value"].abs().to_numpy().argmax())]
    figure(
        charts.waterfall(parts, made.reference, made.score, unit(shown_run().ranker).axis),
        title="From the reference to the score",
        key="waterfall",
        data=parts,
        n=f"1 pair, exact over all coalitions; {made.origin}",
        alt=f"Waterfall from {made.reference:.2f} to {made.score:.2f}; the largest step is {largest['name']} "
        f"with {largest['value']:+.3f}",
        define="contributions",
        filters={"query": given.text, "item": str(item["item_id"])},
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


def swap(ranker: Ranker, given: Answer, made: Explanation, rows: pd.DataFrame, row: pd.Series, by: str) -> None:
    """What puts this item above or below another one, the SID's part split `by` a key of SPLITS."""
    ranked = rows[rows["rank"].notna()]
    others = _neighbours(ranked, row)
    if not others:
        nothing("There is no other ranked item to compare with.")
        return
    asked = st.query_params.get("other")
    names = dict(others)
    if asked and asked not in names:
        bad_parameter("other", asked, "It is not among the candidates of this query.")
    other_id = st.selectbox(
        "Compare with", list(names), format_func=lambda i: names[i], key="other", bind="query-params",
        help="The neighbours in the ranking first, then every candidate.",
    )  # fmt: skip
    other = ranked[ranked["item_id"] == other_id].iloc[0]
    made, theirs = split(made, by), split(explain(ranker, given, other), by)
    upper, lower = (made, theirs) if made.score >= theirs.score else (theirs, made)
    found = minimal_swap(upper.values, lower.values, upper.features)
    this_above = upper is made
    sign = 1 if this_above else -1  # as the chart: for this item against the other
    digits = 2 if found.gap >= 0.05 else 4  # of neighbours in a long list
    reasons = ", ".join(f"{text.feature_name(f)} {sign * value:+.{digits}f}" for f, value in found.reasons)
    rest = f", the others together {sign * found.rest:+.{digits}f}" if len(found.reasons) < len(upper.features) else ""
    if found.gap < TOLERANCE:
        st.markdown("Both have the same score; the first-stage order decides.")
    else:
        st.markdown(
            f"This item is **{'above' if this_above else 'below'}** “{text.escape(text_short(other['title']))}” by "
            f"**{found.gap:.{digits}f}**{_counted()}: {text.escape(reasons + rest)}."
        )
    parts = pd.DataFrame({"name": [text.feature_name(f) for f in made.features], "value": made.values - theirs.values})
    figure(
        charts.swap(parts, "this item", "the other", unit(shown_run().ranker).difference),
        title="This item against the other",
        key="swap",
        data=parts,
        n="2 items",
        alt=f"This item is {'above' if this_above else 'below'} the other by {found.gap:.{digits}f}: {reasons}",
        define="swap",
        filters={"query": given.text, "item": str(row["item_id"]), "other": str(other_id)},
    )
    button("Explain the other item", "item", str(other_id), id="explain-other", icon=":material/balance:")


def _counted() -> str:
    """What a gap between two scores is counted in, after the number."""
    family = learner(shown_run().ranker)
    return " points of predicted grade" if family == BOOSTED else " logits" if family else ""


def _neighbours(ranked: pd.DataFrame, row: pd.Series) -> list[tuple[str, str]]:
    """(item id, name) of the other candidates: the one above, the one below, then all by rank.

    An item without a rank stands where its score would put it.
    """
    others = ranked[ranked["item_id"] != row["item_id"]].sort_values("rank")
    if pd.notna(row["rank"]):
        above = others[others["rank"] < row["rank"]].tail(1)
        below = others[others["rank"] > row["rank"]].head(1)
    else:
        above = others[others["score"] > row["score"]].tail(1)
        below = others[others["score"] <= row["score"]].head(1)
    parts = [above.assign(lead="the one above: "), below.assign(lead="the one below: "), others.assign(lead="")]
    listed = pd.concat(parts).drop_duplicates("item_id").to_dict("records")
    return [(str(r["item_id"]), f"{r['lead']}rank {int(r['rank'])}, {text_short(r['title'])}") for r in listed]


def text_short(title: object, width: int = 60) -> str:
    """A title for a sentence or a menu."""
    flat = " ".join(str(title).split())
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


def unscored(given: Answer, item: pd.Series) -> None:
    """An item that is neither a candidate nor judged: nothing stored; the live model can still explain it."""
    st.text(f"{given.text}\n{item['title']}")
    if imported() or lacks("judgments"):
        unfilled("This pair is not among the imported scores.", needs=("scores with SIDs",))
        return
    nothing(
        "This item is not among the scored ones: the first stage did not retrieve it and nobody judged it.",
        remedy="The Query page says where it was lost; the live model can say how it would have scored.",
    )
    link(
        "query",
        "Where was it lost?",
        {"q": given.query_id or given.text, "item": item["item_id"], "view": "Where was it lost?"},
    )
    where = current()
    model = live.model(str(where.workspace), where.run_id)
    if model.state == "warming":
        live.wait(model)
    elif model.state == "failed":
        live.unavailable(model)
    elif st.button("Score it live", icon=":material/bolt:", type="primary"):
        try:
            told = model.explain(given.text, str(item["item_id"]))
        except EngineError as error:
            st.error(text.escape(error), icon=":material/error:")
            return
        made = Explanation(
            tuple(told.contributions),
            np.array(list(told.contributions.values())),
            told.reference,
            told.score,
            "computed live, image match unknown",
        )
        made = split(made, how_split(made))
        contributions(made, named(made, item, no_image=False), given, item)


def pair(given: Answer, item: pd.Series) -> None:
    """Everything about one pair."""
    rows = ranking.rows(given)
    own = rows[rows["item_id"] == item["item_id"]]
    full = fetch(queries.item, current().run_id, str(item["item_id"])).iloc[0]
    if own.empty:
        unscored(given, full)
        return
    row = own.iloc[0]
    with panel("Facts"):
        facts(given, row, full)
    scores(row, int(rows["retrieved"].sum()))
    try:
        ranker = load_ranker(reference(given))
        made = explain(ranker, given, row)
    except EngineError as error:
        why = "the ranker of an imported run is not known" if imported() else str(error)
        nothing(f"The exact contributions of this pair cannot be shown: {text.escape(why)}.")
        return
    with panel("Contributions", height=360):
        by = how_split(made)
        part = split(made, by)
        contributions(part, named(part, full, no_image=row["mm_missing"] == 1), given, full)
        signals_in_words(made)
    with panel("Words", height=200):
        st.subheader("The word match, word by word", anchor=False, help=text.DEFINITIONS["qs_words"])
        word_match(given.text, str(full["title"]), row)
    with panel("Against another item", height=300):
        st.subheader("Why above or below?", anchor=False, help=text.DEFINITIONS["swap"])
        swap(ranker, given, made, rows, row, by)
    with panel("What if", height=300):
        st.subheader("What if?", anchor=False, help=text.DEFINITIONS["what_if"])
        what_if(ranker, rows, row)


def start() -> None:
    """Pairs worth a look, where the link names none."""
    rows = fetch(queries.strongest, current().run_id, 50)
    if rows.empty:
        why = ": the ranker of an imported run is not known" if imported() else ""
        unfilled(
            f"This run stored no contributions{why}.", needs=("judgments",), remedy="Type a query and an item above."
        )
        return

    def take() -> None:
        row = chosen_row("strongest", rows)
        if row is not None:
            choose("q", str(row["query_id"]))
            choose("item", str(row["item_id"]))

    table(
        rows,
        title="Judged pairs that SIDs move most",
        key="strongest",
        n=f"{len(rows)} pairs, the strongest",
        define="contributions",
        show=["text", "title", "grade", "sid", "rank", "rank_without_sid"],
        columns={
            "text": st.column_config.TextColumn("Query", width="medium"),
            "title": st.column_config.TextColumn("Item", width=260),
            "grade": st.column_config.NumberColumn("Grade", format="%.1f"),
            "sid": st.column_config.NumberColumn(
                f"Contribution of the SID, {unit(shown_run().ranker).column}", format="%+.3f"
            ),
            "rank": "Rank with SIDs",
            "rank_without_sid": "Rank without",
        },
        on_select=take,
        height=420,
    )
    st.caption("Choose a row to explain that pair.")


header("Explain", "Why does this item score as it does for this query, and what would change it?")
if has_run():
    left, right = st.columns(2)
    with left:
        q = st.text_input("Query", key="q", bind="query-params", type="search", help=text.DEFINITIONS["cached"])
    with right:
        wanted = items.ask("Item")
    q = (q or "").strip()
    given = answer(q) if q else None
    chosen = None
    if given is not None:
        chosen = items.find(wanted, given)
    elif not q:
        with panel("Pairs"):
            start()
    pair_key = (q, None if chosen is None else str(chosen["item_id"]))
    if st.session_state.get("_explained", pair_key) != pair_key:
        reset()  # another pair has other values to start from
    st.session_state["_explained"] = pair_key
    if given is not None and chosen is not None:
        pair(given, chosen)
