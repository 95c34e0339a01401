"""Explain: why one item scores as it does for one query, what separates it from another, and what would change it."""

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.components import beside, items, live, names, ranking
from app.components.answer import Answer, answer, origin, reference
from app.components.contributions import (
    WORDLESS,
    contributions,
    how_split,
    in_a_sentence,
    named,
    signals_in_words,
    wordless,
)
from app.components.counterfactual import counterfactual
from app.components.evidence import Pair, evidence
from app.components.explanation import Explanation, explain, load_ranker, shown_run, split
from app.components.figure import chosen_row, table
from app.components.links import choose, link
from app.components.metric import metric_card
from app.components.states import has_run, header, imported, lacks, nothing, panel, unfilled
from app.components.swapping import swap
from app.components.what_if import reset, what_if
from app.components.words import word_match
from app.fetch import current, fetch
from app.queries import explain as queries
from app.queries import query_log
from app.rankers import unit
from engine.errors import EngineError

NAMED = 2  # terms of a code's name on a link: it does not wrap
ALIKE = 8  # queries of the log offered for words


def facts(given: Answer, row: pd.Series, item: pd.Series) -> None:
    """Query and item, the SID with its labels, and the beam that matched."""
    run = current().run_id
    labels = (
        names.renamed(fetch(queries.prefix_labels, run, str(item["sid"]))) if pd.notna(item["sid"]) else pd.DataFrame()
    )
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
        ]
        st.caption(text.escape(" · ".join(p for p in parts if p)), help=text.escape(f"Item id {item['item_id']}"))
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
        contributions(made, named(made, item, None), given.text, item)


def pair(given: Answer, item: pd.Series) -> None:
    """Everything about one pair."""
    rows = ranking.rows(given)
    own = rows[rows["item_id"] == item["item_id"]]
    full = fetch(queries.item, current().run_id, str(item["item_id"])).iloc[0]
    if own.empty:
        unscored(given, full)
        return
    row = own.iloc[0]
    step(rows, row)
    with panel("Facts"):
        facts(given, row, full)
    scores(row, int(rows["retrieved"].sum()))
    if given.query_id:
        with panel("The pair in the other run"):
            beside.one_pair(given.query_id, str(item["item_id"]))
    try:
        ranker = load_ranker(reference(given))
        made = explain(ranker, given, row)
    except EngineError as error:
        why = "the ranker of an imported run is not known" if imported() else str(error)
        nothing(f"The exact contributions of this pair cannot be shown: {text.escape(why)}.")
        return
    with panel("In one sentence", height=80):
        st.caption("In one sentence, to copy", help=text.DEFINITIONS["contributions"])
        sentence = in_a_sentence(made, given.text, str(full["title"]), row, int(rows["retrieved"].sum()))
        st.code(sentence, language=None, wrap_lines=True)
    with panel("Contributions", height=360):
        by = how_split(made)
        part = split(made, by)
        contributions(part, named(part, full, row), given.text, full)
        signals_in_words(made)
    with panel("Evidence", height=300):
        st.subheader("What lies behind a SID signal?", anchor=False, help=text.DEFINITIONS["evidence"])
        evidence(Pair(given, made, ranker, row, full))
    with panel("Against another item", height=300):
        st.subheader("Why above or below?", anchor=False, help=text.DEFINITIONS["swap"])
        swap(ranker, given, made, rows, row, by)
    with panel("Smallest change", height=200):
        st.subheader(
            "What is the smallest change that would do it?", anchor=False, help=text.DEFINITIONS["counterfactual"]
        )
        counterfactual(ranker, given.text, rows, row, st.session_state.get("other"))
    with panel("Words", height=200):
        st.subheader("The word match, word by word", anchor=False, help=text.DEFINITIONS["qs_words"])
        word_match(given.text, str(full["title"]), row)
        lexical = float(made.values[made.features.index("qs")]) if "qs" in made.features else 0.0
        if wordless("qs", lexical, row):
            st.caption(
                f"The lexical columns together add {lexical:+.2f} all the same, though {WORDLESS}: the ranker learnt that from other "
                "pairs, and the mean candidate that it is measured from may do worse. It is no match."
            )
    with panel("What if", height=300):
        st.subheader("What if?", anchor=False, help=text.DEFINITIONS["what_if"])
        what_if(ranker, rows, row)
        link(
            "what-if",
            "What if the title were another one?",
            {"q": given.query_id or given.text, "item": row["item_id"]},
        )


def step(rows: pd.DataFrame, row: pd.Series) -> None:
    """Buttons and keys to the items just above and just below in the ranking."""
    ranked = rows[rows["rank"].notna()].sort_values("rank")
    if pd.isna(row["rank"]) or len(ranked) < 2:
        return
    above, below = ranked[ranked["rank"] < row["rank"]].tail(1), ranked[ranked["rank"] > row["rank"]].head(1)
    with st.container(horizontal=True, vertical_alignment="center"):
        for found, name, icon, key in (
            (above, "The item above", ":material/arrow_upward:", "K"), (below, "The item below", ":material/arrow_downward:", "J"),
        ):  # fmt: skip
            known = not found.empty
            st.button(
                name, key=f"step-{key}", icon=icon, shortcut=key, type="tertiary", disabled=not known,
                help=text.escape(f"Rank {int(found['rank'].iloc[0])}: {found['title'].iloc[0]}"[:120]) if known else None,
                on_click=choose if known else None, args=("item", str(found["item_id"].iloc[0])) if known else None,
            )  # fmt: skip
        st.caption(f"Rank {int(row['rank'])} of {len(ranked)}. Keys: K goes to the item above, J to the one below.")


def alike(words: str) -> None:
    """Queries of the log that hold what was typed, where it is none of them itself."""
    asked = query_log.Asked(current().run_id, words=words)
    found = fetch(query_log.page, *asked, ALIKE, 0)
    if found.empty:
        return
    total = fetch(query_log.found, *asked).queries
    names = dict(zip(found["handle"].astype(str), found["text"].astype(str), strict=True))
    st.pills(
        f"Or a query of the log with these words ({text.plural(total, 'query', 'queries')}, the {len(names)} most frequent shown)",
        list(names), format_func=lambda handle: names[handle][:60], key="alike",
        on_change=lambda: choose("q", st.session_state["alike"]),
    )  # fmt: skip


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
    if given is not None and given.query is None:
        alike(q)
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
