"""The judging queue: one pair at a time, nothing beside it that would tell the answer; answers are kept beside the snapshots."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from app import text
from app.components.export import offer
from app.components.states import nothing
from app.fetch import current, fetch
from app.queries import judging as queries
from app.queries.snapshot import info
from app.text import escape
from engine.errors import EngineError
from engine.store.judged import (
    COLUMNS,
    LONGEST_NAME,
    LONGEST_REASON,
    Answer,
    JudgedStore,
    export_rows,
    rater_name,
)

PARTS = {"both": "disputed and unjudged", "disputed": "disputed grades", "unjudged": "unjudged, on page one"}
SIZES = (20, 50, 100, 200, 500)
RATER, SKIPPED, FAILED = "_rater", "_skipped", "_judging_failed"
"""Of the session: who judges, the pairs put off, and why the last answer was not kept."""
LONGEST_SHOWN = 400
"""Letters of a title beyond which it scrolls in a box of its own."""
Pair = tuple[str, str]


def switch() -> bool:
    """The switch at the top of the page; whether people judge now, and nothing else of the page is to be seen."""
    return st.toggle(
        "Judge pairs", key="judge", bind="query-params",
        help="Grades one pair after the other; everything else of this page is hidden meanwhile, for it would tell the answer.",
    )  # fmt: skip


def queue() -> None:
    """One pair to judge with the guidelines beside it, or why there is none; then what was answered so far."""
    from engine.labeling.prompt import Prompt

    st.header("Judge pairs", anchor=False, help=text.DEFINITIONS["judging"])
    shown = fetch(info)
    try:
        prompt = Prompt.for_scale(float(shown["max_grade"]))
    except EngineError:
        nothing(f"Grades of this catalogue run to {shown['max_grade']:g}: a queue needs whole grades, up to 10.")
        return
    st.markdown(
        "You see **neither the ranking's score nor anybody's grade** before you answer, and the order is shuffled, so that a pair's "
        "place tells nothing."
    )
    rater = st.session_state.get(RATER)
    work, guide = st.columns([3, 2], gap="large")
    with guide:
        _guidelines(prompt.definitions)
    with work:
        if rater is None:
            _who()
        else:
            _work(str(rater), prompt.definitions)
    _answered()


def _guidelines(definitions: Mapping[int, str]) -> None:
    """What the language model is told, word for word."""
    from engine.labeling.prompt import INTENT, RULES

    with st.container(border=True):
        st.subheader("Guidelines", anchor=False)
        st.markdown(escape(INTENT))
        st.markdown("\n".join(f"- {escape(rule)}" for rule in RULES))
        st.markdown(
            "\n".join(f"- **{grade}** {escape(said)}" for grade, said in sorted(definitions.items(), reverse=True))
        )
        st.caption("A language model that judges is told the same.")


def _who() -> None:
    """Ask for the rater's name, once a session."""
    with st.form("rater", border=False):
        name = st.text_input(
            "Your name, or what you want to be called", max_chars=LONGEST_NAME, key="rater-name",
            help="It is kept with your answers and stands in the exported file. Nothing else about you is kept.",
        )  # fmt: skip
        if st.form_submit_button("Begin", icon=":material/play_arrow:"):
            try:
                st.session_state[RATER] = rater_name(name or "")
            except EngineError as error:
                st.warning(escape(error), icon=":material/edit:")
            else:
                st.rerun()


def _work(rater: str, definitions: Mapping[int, str]) -> None:
    """The next pair of the rater's queue."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        part = st.selectbox(
            "Pairs", list(PARTS), key="judge_of", bind="query-params", format_func=PARTS.__getitem__, width=230
        )
        size = st.selectbox("How many", SIZES, key="judge_n", bind="query-params", width=110)
    if failed := st.session_state.pop(FAILED, ""):
        st.error(f"It was not kept: {escape(failed)}.", icon=":material/error:")
    pairs = fetch(queries.queue, current().run_id, part, size, seed(rater))
    order: list[Pair] = list(pairs[["query_id", "item_id"]].itertuples(index=False, name=None))
    mine = {(a.query_id, a.item_id): a for a in standing() if a.rater == rater}
    put_off: dict[Pair, None] = st.session_state.setdefault(SKIPPED, {})
    left = [pair for pair in order if pair not in mine and pair not in put_off]
    left += [pair for pair in put_off if pair in order and pair not in mine]
    if not order:
        nothing("There is nothing to judge: no grade is disputed, and page one of every query with traffic is judged.")
        return
    done = len(order) - len(left)
    st.progress(
        done / len(order), text=escape(f"{rater}: {done:,} of {text.plural(len(order), 'pair', 'pairs')} judged")
    )
    if left:
        _pair(left[0], rater, definitions)
    else:
        st.success("All of them are judged. Choose more, or other pairs, above.", icon=":material/done_all:")
    _steps(rater, left[0] if left else None, last=bool(mine))


def seed(rater: str) -> int:
    """The seed of a rater's order: their own, and the same whenever they return."""
    return int.from_bytes(hashlib.sha256(rater.encode()).digest()[:4])


def _pair(pair: Pair, rater: str, definitions: Mapping[int, str]) -> None:
    """The query and the item as a judge sees them, and the grades to press."""
    from engine.labeling.prompt import attributes_shown

    seen = fetch(queries.pair, *pair)
    with st.container(border=True, key="pair"):
        st.caption("A shopper searched for")
        st.subheader(escape(seen["query"]), anchor=False)
        st.caption("and sees this item")
        title = str(seen["title"])
        with st.container(height=150 if len(title) > LONGEST_SHOWN else "content", border=False):
            st.markdown(f"**{escape(title)}**")
        facts = {"brand": seen["brand"], "category": seen["category"], **attributes_shown(seen["attributes"])}
        st.markdown("  \n".join(f"{escape(name)}: {escape(value)}" for name, value in facts.items() if value))
    reason = f"reason-{'-'.join(map(str, pair))}"
    st.text_input("Why, in a few words (optional, before the grade)", key=reason, max_chars=LONGEST_REASON)
    with st.container(horizontal=True, key="grades"):
        for grade, said in sorted(definitions.items(), reverse=True):
            st.button(
                f"{grade} · {escape(said.split(':')[0])}", key=f"grade-{grade}",
                shortcut=str(grade) if grade < 10 else None, on_click=_grade, args=(pair, rater, grade, reason),
            )  # fmt: skip


def _grade(pair: Pair, rater: str, grade: int, reason: str) -> None:
    """Keep a grade (a button's callback)."""
    shown = fetch(info)
    try:
        JudgedStore(current().workspace).add(
            Answer(
                rater=rater, dataset=str(shown["dataset"]), query_id=pair[0], query=str(fetch(queries.pair, *pair)["query"]),
                item_id=pair[1], grade=grade, max_grade=float(shown["max_grade"]), relevant_grade=float(shown["relevant_grade"]),
                reason=st.session_state.get(reason) or "",
            )
        )  # fmt: skip
    except EngineError as error:
        st.session_state[FAILED] = str(error)


def _steps(rater: str, pair: Pair | None, *, last: bool) -> None:
    """Put off, take back, and another rater."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button("Skip", key="skip", type="tertiary", icon=":material/skip_next:", shortcut="S", disabled=pair is None,
                  on_click=_put_off, args=(pair,), help="It comes again at the end.")  # fmt: skip
        st.button("Undo", key="undo", type="tertiary", icon=":material/undo:", shortcut="U", disabled=not last,
                  on_click=_take_back, args=(rater,), help="Takes your last answer back.")  # fmt: skip
        st.button("Not you?", key="other-rater", type="tertiary", icon=":material/person:", on_click=_other)
    st.caption("By keyboard: a grade's digit, S to skip, U to undo; Tab leaves the reason.")


def _put_off(pair: Pair) -> None:
    put_off = st.session_state[SKIPPED]
    put_off.pop(pair, None)  # a pair that was put off before goes to the end again
    put_off[pair] = None


def _take_back(rater: str) -> None:
    """Take the rater's newest answer back, and show its pair again (a button's callback)."""
    mine = [answer for answer in standing() if answer.rater == rater]
    try:
        JudgedStore(current().workspace).take_back(mine[-1].answer_id, rater=rater)
    except EngineError as error:
        st.session_state[FAILED] = str(error)
    else:
        st.session_state[SKIPPED].pop((mine[-1].query_id, mine[-1].item_id), None)


def _other() -> None:
    st.session_state.pop(RATER, None)
    st.session_state.pop(SKIPPED, None)


def standing() -> list[Answer]:
    """What people judged of the shown catalogue, in the order given. Raises EngineError for a file that cannot be read."""
    store = JudgedStore(current().workspace)
    if not store.path.is_file():
        return []
    found = store.path.stat()
    return [
        a
        for a in _read(str(current().workspace), found.st_mtime_ns, found.st_size)
        if a.dataset == fetch(info)["dataset"]
    ]


@st.cache_data(max_entries=4, show_spinner=False)
def _read(workspace: str, changed: int, size: int) -> list[Answer]:
    """Every standing answer; read again once the file has changed."""
    return JudgedStore(Path(workspace)).standing()


def _answered() -> None:
    """How much was judged, the file of it, and the command that takes it up."""
    answers = standing()
    if not answers:
        return
    raters = len({answer.rater for answer in answers})
    st.subheader("What was judged here", anchor=False)
    st.markdown(
        f"{text.plural(len(answers), 'judgment', 'judgments')} by {text.plural(raters, 'rater', 'raters')} of this catalogue "
        f"{'is' if len(answers) == 1 else 'are'} kept in the workspace. Nothing shown here changes until "
        f"{'it is' if len(answers) == 1 else 'they are'} ingested: where the catalogue has a grade already, "
        "yours stands beside it as a further rater's, and the mean of both is used."
    )
    offer("judgments.csv", lambda: judgments_csv(answers), name="judgments.csv", mime="text/csv", key="judged-csv")
    st.markdown(
        "To take them up, ingest the dataset again, then train and publish (PLACE: where its files lie; WORKSPACE: what this server "
        "looks into):"
    )
    st.code(
        "python -m engine ingest PLACE --with-judged --workspace WORKSPACE",
        language="bash",
        wrap_lines=True,
    )


def judgments_csv(answers: list[Answer]) -> bytes:
    """The contract's judgments file, without a line above its header: ingest is to read it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(export_rows(answers))
    return out.getvalue().encode("utf-8")
