"""What if a listing read otherwise? Its new SID and its new place for one query, answered live on the edited catalogue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from app import text
from app.components import items, live
from app.components.answer import Answer, answer, labels, origin
from app.components.explanation import SPLITS, shown_run
from app.components.figure import table
from app.components.links import choose, link
from app.components.states import lacks, nothing, unfilled
from app.fetch import current, fetch
from app.queries import explain as explain_queries
from app.queries import what_if as queries
from app.queries.snapshot import info
from app.rankers import unit
from engine.errors import EngineError
from engine.relevance.words import Reader, account

if TYPE_CHECKING:
    from engine.answering.live import Edited

WORDS = 6  # missing words that are tried
OFFERED = 8
NONE = "no attribute"


def listing() -> None:
    """Choose a query and an item, write the item otherwise, see what that does."""
    if lacks("judgments") or not shown_run().ranker:
        unfilled("This run ranks nothing, so a listing has no place to change.", needs=("judgments",))
        return
    left, right = st.columns(2)
    with left:
        q = (
            st.text_input("Query", key="q", bind="query-params", type="search", help=text.DEFINITIONS["cached"]) or ""
        ).strip()
    with right:
        wanted = items.ask("Item")
    given = answer(q) if q else None
    if not q and not wanted:
        nothing("Name an item by words of its title, and a query it should be found by.")
        return
    if q and given is None:
        return
    item = items.find(wanted, given)
    if item is None:
        return
    if given is None:
        _offer_queries(str(item["item_id"]))
        return
    full = fetch(explain_queries.item, current().run_id, str(item["item_id"])).iloc[0]
    _start_anew(q, full)
    title, attributes = _edit(full)
    st.caption(text.DEFINITIONS["listing"])
    model = live.model(str(current().workspace), current().run_id)
    if model.state == "warming":
        live.wait(model)
        return
    if model.state == "failed":
        live.unavailable(model)
        return
    origin(given)
    asked = {"query": given.text, "item": str(full["item_id"]), "title": title}
    if attributes:
        asked["attributes"] = attributes
    if title == str(full["title"]) and attributes == _attributes(full):
        st.info("This is the listing as it is: write its title or an attribute otherwise.", icon=":material/edit:")
    else:
        made = ask(model, given.text, str(full["item_id"]), title, attributes)
        if made is not None:
            _told(made, given, full, asked)
    _missing_words(model, given, full, asked)


def _start_anew(q: str, full: pd.Series) -> None:
    """Another pair starts from its own listing: the widgets are set to it, for an address keeps what is merely forgotten."""
    pair = (q, str(full["item_id"]))
    if st.session_state.get("_edited", pair) != pair:
        st.session_state["title"] = str(full["title"])
        st.session_state["attribute"] = NONE
        st.session_state["becomes"] = ""
    st.session_state["_edited"] = pair


def _offer_queries(item_id: str) -> None:
    """Queries that rank the item, to choose from."""
    found = fetch(queries.busiest, current().run_id, item_id, OFFERED)
    if found.empty:
        nothing("No stored query ranks this item.", remedy="Type a query it should be found by.")
        return
    names = {str(r["handle"]): f"{r['text'][:60]} (rank {int(r['rank'])})" for r in found.to_dict("records")}
    st.pills(
        "Now a query: type one, or take one that ranks this item best", list(names), format_func=names.__getitem__, key="ranking",
        on_change=lambda: choose("q", st.session_state["ranking"]),
    )  # fmt: skip


def _attributes(full: pd.Series) -> str | None:
    return full["attributes"] if isinstance(full["attributes"], str) else None


def _edit(full: pd.Series) -> tuple[str, str | None]:
    """The title and the attributes (JSON) as they are to be."""
    title = st.text_area(
        "Title", str(full["title"]), key="title", bind="query-params", max_chars=10_000, height="content"
    )
    own: dict[str, Any] = json.loads(_attributes(full) or "{}")
    left, right = st.columns(2)
    with left:
        name = st.selectbox("Attribute to change", [NONE, *own], key="attribute", bind="query-params")
    if name in own:
        with right:
            becomes = st.text_input(f"It reads “{own[name]}”; it becomes", key="becomes", bind="query-params")
        if becomes:
            own[name] = becomes
            return (title or "").strip() or str(full["title"]), json.dumps(own, ensure_ascii=False)
    return (title or "").strip() or str(full["title"]), _attributes(full)


def ask(model: live.Model, query: str, item: str, title: str, attributes: str | None) -> Edited | None:
    """The pair before and after; None where it cannot be told, which was then said."""
    asked = (query, item, title, attributes)
    try:
        made: Edited = model.ask(
            lambda run: run.edited(*asked), "edited", *asked, words="Encoding, indexing and asking again …"
        )
    except EngineError as error:
        nothing(text.escape(error))
        return None
    return made


def pair_rows(made: Edited, item_id: str) -> tuple[pd.Series, pd.Series]:
    """The pair's row of scores before and after."""
    assert made.before.scores is not None
    assert made.after.scores is not None
    first, second = (s[s["item_id"] == item_id].iloc[0] for s in (made.before.scores, made.after.scores))
    return first, second


def _told(made: Edited, given: Answer, full: pd.Series, asked: dict[str, str]) -> None:
    """What the edit does: SID, place, score, contributions; exports say what was `asked`."""
    before, after = pair_rows(made, str(full["item_id"]))
    st.markdown(in_words(made, before, after))
    counted = unit(shown_run().ranker)
    difference = after["score"] - before["score"]
    with st.grid(4, min_column_width=210):
        for label, shown, note, define in (
            ("Rank written so", _rank(after), f"{_rank(before)} as it is", counted.define),
            (
                "Score written so",
                f"{after['score']:.3f}",
                f"{before['score']:.3f} as it is: {difference:+.3f}",
                counted.define,
            ),
            ("Place before ranking", _first(after), f"{_first(before)} as it is", "first_stage"),
            ("SID match", _match(after), f"{_match(before)} as it is", "match"),
        ):
            with st.container():
                st.metric(label, shown, border=True, help=text.DEFINITIONS[define])
                st.caption(note)
    _codes(made, asked)
    _parts(made, asked)
    link("explain", "Explain this pair as it is", {"q": given.query_id or given.text, "item": full["item_id"]})


def in_words(made: Edited, before: pd.Series, after: pd.Series) -> str:
    """What became of the SID and of the place, as Markdown."""
    old, new = made.sid.split("-"), made.new_sid.split("-")
    kept = next((i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b), len(old))
    if kept == len(old):
        sid = f"Its SID stays {text.escape(made.sid)}"
    else:
        where = "from the first code on" if kept == 0 else f"from level {kept + 1} on"
        shares = (
            text.plural(made.n_sharing, "other item holds", "other items hold")
            if made.n_sharing
            else "no other item holds"
        )
        sid = f"Its SID changes {where}, from {text.escape(made.sid)} to {text.escape(made.new_sid)}, which {shares}"
    moved = text.move(after["rank"], before["rank"]) if pd.notna(before["rank"]) and pd.notna(after["rank"]) else ""
    place = f"{_place(before)} becomes {_place(after)}" + (f" ({moved})" if moved else "")
    return (
        f"**{sid}.** For this query {place}; its score changes by {after['score'] - before['score']:+.3f}. Answered live in "
        f"{made.seconds:.1f} s."
    )


def _place(row: pd.Series) -> str:
    return text.place(row["rank"] if pd.notna(row["rank"]) else None, bool(row["retrieved"]))


def _rank(row: pd.Series) -> str:
    return _place(row).removeprefix("rank ")


def _first(row: pd.Series) -> str:
    return str(int(row["first_stage_rank"])) if pd.notna(row["first_stage_rank"]) else "not retrieved"


def _match(row: pd.Series) -> str:
    level = row.get("match_level")
    return text.match(None if level is None or pd.isna(level) else float(level), shown_run().levels, None)


def _codes(made: Edited, asked: dict[str, str]) -> None:
    """Level by level, the code before and after by its name."""
    old, new = made.sid.split("-"), made.new_sid.split("-")
    prefixes = [["-".join(sid[: i + 1]) for i in range(len(sid))] for sid in (old, new)]
    names = labels(current().run_id, pd.Series([*prefixes[0], *prefixes[1]]))
    told = pd.DataFrame(
        [
            (
                i + 1,
                a,
                names.get(a, "no name"),
                b,
                names.get(b, "a code that no item has"),
                "same" if a == b else "changed",
            )
            for i, (a, b) in enumerate(zip(*prefixes, strict=True))
        ],
        columns=["level", "old", "old_name", "new", "new_name", "verdict"],
    )
    table(
        told, title="Its codes, as it is and written so", key="edited-codes", n=f"{len(told)} levels, all", define="sid",
        columns={
            "level": st.column_config.NumberColumn("Level", width="small"), "old": "Code as it is", "old_name": "Name",
            "new": "Code written so", "new_name": "Its name", "verdict": "",
        },
        filters=asked,
        height="content",
    )  # fmt: skip


def _parts(made: Edited, asked: dict[str, str]) -> None:
    """The contributions before and after, SIDs by signal."""
    name = SPLITS["signals"]
    sums = []
    for side in (made.before, made.after):
        assert side.contributions is not None
        own = side.contributions[side.contributions["item_id"] == asked["item"]]
        sums.append(own.assign(feature=own["feature"].map(name)).groupby("feature", sort=False)["value"].sum())
    told = pd.DataFrame({"before": sums[0], "after": sums[1]}).fillna(0.0)
    told = told.assign(difference=told["after"] - told["before"]).sort_values("difference", key=abs, ascending=False)
    told = told.reset_index().assign(name=lambda d: d["feature"].map(text.feature_name))
    table(
        told, title="What changes in its score", key="edited-parts", n=f"1 pair, {len(told)} features, all", define="edited_parts",
        show=["name", "before", "after", "difference"],
        columns={
            "name": st.column_config.TextColumn("Feature", width="large"),
            "before": st.column_config.NumberColumn("Adds as it is", format="%+.3f"),
            "after": st.column_config.NumberColumn("Adds written so", format="%+.3f"),
            "difference": st.column_config.NumberColumn("Difference", format="%+.3f"),
        },
        filters=asked,
        height="content",
    )  # fmt: skip


def _missing_words(model: live.Model, given: Answer, full: pd.Series, asked: dict[str, str]) -> None:
    """On request: the title with each missing word of the query added to its end, one at a time."""
    title, attributes = asked["title"], asked.get("attributes")
    missing = [w.word for w in account(Reader(fetch(info)["language"]), given.text, title) if w.near < 1.0][:WORDS]
    if not missing:
        st.caption("The title holds every word of the query.")
        return
    st.subheader("Which one word of the query would help most?", anchor=False, help=text.DEFINITIONS["one_word"])
    if not st.toggle(
        f"Try each of {text.plural(len(missing), 'missing word', 'missing words')}, one at a time",
        key="words",
        bind="query-params",
    ):
        return
    as_it_is = title == str(full["title"]) and attributes == _attributes(full)
    tried = {word: ask(model, given.text, str(full["item_id"]), f"{title} {word}", attributes) for word in missing}
    whole = None if as_it_is else ask(model, given.text, str(full["item_id"]), title, attributes)
    made = [(word, t) for word, t in tried.items() if t is not None]
    if not made or (whole is None and not as_it_is):
        return
    without = (
        pair_rows(made[0][1], str(full["item_id"]))[0] if whole is None else pair_rows(whole, str(full["item_id"]))[1]
    )
    then = [pair_rows(t, str(full["item_id"]))[1] for _, t in made]
    told = pd.DataFrame(
        {
            "word": [word for word, _ in made],
            "rank": [row["rank"] for row in then],
            "score": [row["score"] for row in then],
            "difference": [row["score"] - without["score"] for row in then],
            "sid": [t.new_sid for _, t in made],
        }
    ).sort_values("score", ascending=False, kind="stable")
    best = told.iloc[0]
    against = "the listing as it is" if as_it_is else "the title above"
    if best["difference"] > 0:
        st.markdown(
            f"“{text.escape(best['word'])}” at the end of the title helps most: {_place_of(best['rank'])}, score "
            f"{best['difference']:+.3f} against {against} ({_place(without)})."
        )
    else:
        st.markdown(
            f"None of them helps: the best, “{text.escape(best['word'])}”, changes the score by {best['difference']:+.3f} against "
            f"{against} ({_place(without)})."
        )
    table(
        told, title="One missing word added", key="one-word", n=f"{text.plural(len(told), 'word', 'words')}", define="one_word", heading=False,
        columns={
            "word": "Word added", "rank": "Rank", "score": st.column_config.NumberColumn("Score", format="%.3f"),
            "difference": st.column_config.NumberColumn(f"Against {against}", format="%+.3f"), "sid": "SID",
        },
        filters=asked,
        height="content",
    )  # fmt: skip


def _place_of(rank: float | None) -> str:
    return "not retrieved" if rank is None or pd.isna(rank) else f"rank {int(rank)}"
