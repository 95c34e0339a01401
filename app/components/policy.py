"""What if a group of items were boosted, or its places capped? The stored rankings re-ordered: who gains exposure, what it costs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from app import text
from app.charts import exposure as charts
from app.components.explanation import shown_run
from app.components.figure import figure, table
from app.components.links import address
from app.components.metric import metric_card
from app.components.states import bad_parameter, nothing, unfilled
from app.fetch import current, fetch
from app.queries import policy as queries
from app.rankers import BOOSTED, learner, unit
from engine.audit.policy import Change, Pairs, Policy, Tried, exposure_of, try_policy
from engine.audit.traffic import DISCOUNTS, PAGE

# The words of a bound widget stand in the address, so that they are its options.
GROUPS = {
    "Sellers": "seller",
    "Categories": "category",
    "Departments": "department",
    "Brands": "brand",
    "Codes": "code",
}
TOLD = {
    "Sellers": "seller",
    "Categories": "category",
    "Departments": "department",
    "Brands": "brand",
    "Category tiers": "tier",
}
BONUS, CAP = "Bonus on the score", "Cap in the first ten"
BARS = 12
WORST = 200


class Group(NamedTuple):
    """The items that a policy is for."""

    dimension: str
    values: tuple[str, ...]
    words: str  # As it is told.


def policy() -> None:
    """Choose a group and what is done to it; what that does."""
    if not shown_run().ranker:
        unfilled("This run ranks nothing, so there are no rankings to re-order.", needs=("judgments",))
        return
    rows = fetch(queries.rankings, current().run_id)
    if not len(rows.query):
        unfilled("No rankings were stored for this run.", needs=("scores with SIDs",))
        return
    group = _group()
    tried = _policy()
    told = st.segmented_control(
        "Tell who moves by", list(TOLD), default="Sellers", required=True, key="told", bind="query-params"
    )
    st.caption(_said(rows))
    if group is None:
        nothing("Choose whom the policy is for: type a name above.")
        return
    if tried == Policy():
        nothing("A bonus of 0 changes nothing.", remedy="Set a bonus, or cap the places in the first ten.")
        return
    where = current()
    made = _tried(where.snapshot_id, where.run_id, group, tried, rows)
    st.markdown(f"**{text.sentence(in_words(group, tried))}**: {outcome(made, rows)}")
    _numbers(made, rows)
    _movers(made, rows, group, tried, str(told or "Sellers"))
    _queries(made, rows, group, tried)


def _group() -> Group | None:
    """The group that the address or the menus name."""
    asked = st.query_params.get("group")
    if asked and asked not in GROUPS:
        bad_parameter("group", asked, "Shown instead: Sellers.")
    plural = st.segmented_control(
        "A group of", list(GROUPS), default="Sellers", required=True, key="group", bind="query-params"
    )
    plural = str(plural or "Sellers")
    dimension = GROUPS[plural]
    names = _names(dimension)
    key = f"of_{dimension}"
    if wrong := [v for v in st.query_params.get_all(key) if v not in names]:
        bad_parameter(dimension, wrong[0], "Choose one of the list.")
    if not names:
        nothing(f"The catalogue knows no {plural.lower()}.")
        return None
    chosen = st.multiselect(
        f"{plural} that the policy is for", list(names), key=key, bind="query-params",
        placeholder="Type a name; several make one group",
    )  # fmt: skip
    if not chosen:
        return None
    told = [f"“{v}”" for v in chosen[:3]]
    more = [f"{len(chosen) - 3} more"] if len(chosen) > 3 else []
    return Group(dimension, tuple(names[v] for v in chosen), text.listed([*told, *more]))


def _names(dimension: str) -> dict[str, str]:
    """What may be chosen, in words, and what it stands for: codes of the first two levels by name and prefix, others by name."""
    if dimension != "code":
        found = fetch(queries.labels, current().run_id, dimension).value_counts()
        return {str(v): str(v) for v in found.index[found > 0]}
    levels = [fetch(queries.codes, current().run_id, level) for level in (1, 2)]
    return {
        f"{r['label'] or 'no name'} ({r['prefix']})": str(r["prefix"])
        for level in levels
        for r in level.to_dict("records")
    }


def _policy() -> Policy:
    """The bonus or cap that the address or the widgets name."""
    left, right = st.columns(2)
    with left:
        kind = st.segmented_control(
            "What is done", [BONUS, CAP], default=BONUS, required=True, key="policy", bind="query-params",
            help=text.DEFINITIONS["policy"],
        )  # fmt: skip
    with right:
        if kind == CAP:
            return Policy(
                cap=int(st.slider("At most so many of the first ten", 0, PAGE - 1, 2, key="cap", bind="query-params"))
            )
        counted = unit(shown_run().ranker)
        reach = 1.0 if learner(shown_run().ranker) == BOOSTED else 3.0
        bonus = st.slider(
            f"Added to each score, {counted.column} (less than 0 pushes down)", -reach, reach, 0.2, step=reach / 50,
            key="bonus", bind="query-params", help=text.DEFINITIONS[counted.define],
        )  # fmt: skip
        return Policy(bonus=round(float(bonus), 4))


@st.cache_data(max_entries=16, show_spinner="Re-ordering the stored rankings …")
def _tried(snapshot_id: str, run_id: str, group: Group, policy: Policy, _rows: queries.Rankings) -> Tried:
    inside = members(fetch(queries.labels, run_id, group.dimension), group)[_rows.item]
    pairs = Pairs(_rows.query, _rows.score, _rows.first, _rows.rank, _rows.grade)
    asked = _rows.queries
    return try_policy(pairs, inside, policy, asked["weight"].to_numpy(float), asked["counts"].to_numpy(bool))


def members(labels: pd.Series, group: Group) -> np.ndarray:
    """(N,) bool: the items of the group; under a code are those whose SID begins with it."""
    names = labels.cat.categories.astype(str)
    if group.dimension == "code":
        inside = [name for name in names if any(name == v or name.startswith(f"{v}-") for v in group.values)]
    else:
        inside = [name for name in names if name in group.values]
    return np.asarray(labels.isin(inside), dtype=bool)


def _said(rows: queries.Rankings) -> str:
    """What the numbers rest on."""
    asked, judged = int((rows.queries["weight"] > 0).sum()), int(rows.queries["counts"].sum())
    some = (
        ""
        if asked == rows.n_asked
        else f", the most asked, with {text.number(rows.traffic, 'percent')} of their traffic"
    )
    split = text.listed(sorted(rows.queries.loc[rows.queries["counts"], "split"].dropna().unique()))
    price = (
        f" nDCG@10 is of {judged:,} of {text.plural(rows.n_judged, 'judged query', 'judged queries')} (split: {text.escape(split)})."
        if judged
        else " No judged query was measured, so there is no price in nDCG@10."
    )
    return (
        f"Stored rankings re-ordered; nothing is retrained and no query is asked again. Exposure is of {asked:,} of "
        f"{text.plural(rows.n_asked, 'query', 'queries')} with traffic{some}.{price}"
    )


def in_words(group: Group, policy: Policy) -> str:
    """The policy as Markdown."""
    if policy.cap is not None:
        return f"at most {policy.cap} of the first {PAGE} places for {text.escape(group.words)}"
    return f"{policy.bonus:+.2f} on every score of {text.escape(group.words)}"


def outcome(made: Tried, rows: queries.Rankings) -> str:
    """What it does and costs, in a sentence."""
    share, ndcg = made.share, made.ndcg
    n, of = int((made.changed & (rows.queries["weight"].to_numpy() > 0)).sum()), int((rows.queries["weight"] > 0).sum())
    told = (
        f"its share of exposure goes from {text.number(share.before, 'share')} to {text.number(share.after, 'share')} "
        f"({_against(share, 'share_points')}); the first {PAGE} of {n:,} of {text.plural(of, 'query', 'queries')} with traffic change"
    )
    if ndcg.difference.n == 0:
        return f"{told}."
    if ndcg.difference.n < text.LEAST_QUERIES:
        return f"{told}. Its price in nDCG@10 is not told: {text.TOO_SMALL} ({ndcg.difference.n} judged queries)."
    return f"{told}. nDCG@10 changes by {_fine(ndcg.difference.value)} ({_interval(ndcg)}: {_verdict(ndcg)})."


def _against(change: Change, form: str) -> str:
    found = change.difference
    if found.n < text.LEAST_QUERIES:
        return f"{text.number(found.value, form)}, exactly so for these queries; {text.TOO_SMALL} for an interval"
    return f"{text.number(found.value, form)}, 95 % interval {text.interval(found.low, found.high, form)}"


def _interval(change: Change) -> str:
    return f"95 % interval [{_fine(change.difference.low)}, {_fine(change.difference.high)}]"


def _verdict(change: Change) -> str:
    """What the interval says of the price."""
    if change.difference.low > 0:
        return "judged items are ordered better"
    return "it costs relevance" if change.difference.high < 0 else "no cost that can be told from chance"


def _numbers(made: Tried, rows: queries.Rankings) -> None:
    """Share, places on page one, nDCG."""
    with st.grid(3, min_column_width=260):
        for label, change, form, define, unit_of in (
            ("Share of exposure", made.share, "share", "policy_exposure", "queries"),
            (f"Of its items in the first {PAGE}, a query", made.shown, "number", "policy_shown", "queries"),
            ("nDCG@10 of judged queries", made.ndcg, "fine", "policy_price", "judged queries"),
        ):
            with st.container():
                points = "share_points" if form == "share" else "number"
                found = change.difference
                shown = (
                    ""
                    if found.n < text.LEAST_QUERIES
                    else f", [{_signed(found.low, points)}, {_signed(found.high, points)}]"
                )
                metric_card(
                    label, change.after, n=found.n, unit=unit_of, form=form, define=define, least=1 if form != "fine" else text.LEAST_QUERIES,
                    note=f"{text.number(change.before, form)} as it is: {_signed(found.value, points)}{shown}" if found.n else "nobody judged",
                )  # fmt: skip


def _signed(value: float, form: str) -> str:
    return text.number(value, form) if form == "share_points" else _fine(value)


def _fine(value: float) -> str:
    """A signed difference to four decimals; nothing has no sign."""
    return f"{value:+.4f}" if round(value, 4) else "0.0000"


def _movers(made: Tried, rows: queries.Rankings, group: Group, policy: Policy, told: str) -> None:
    """Exposure of every seller, category ... before and after."""
    labels = fetch(queries.labels, current().run_id, TOLD[told])
    if labels.isna().all():
        nothing(f"The catalogue knows no {told.lower()}.")
        return
    moved = exposure_by(made, rows, labels)
    filters = {"policy": in_words(group, policy), "told by": told}
    some = moved[moved["difference"].abs() > 1e-12]
    if some.empty:
        st.caption(f"No exposure moves between {told.lower()}.")
        return
    first = some.head(BARS)
    figure(
        charts.moved(first.sort_values("difference", ascending=False)),
        title="Whose exposure moves",
        key="moved",
        data=moved,
        n=f"the {len(first)} that move most of {len(some)} {told.lower()} whose exposure moves; exact for these queries",
        alt=f"{first.iloc[0]['value']} moves most: {100 * first.iloc[0]['difference']:+.3f} percentage points",
        define="policy_exposure",
        filters=filters,
    )
    table(
        moved,
        title=f"Exposure shares of {told.lower()}, before and after",
        key="movers",
        n=f"{len(moved):,} {told.lower()}, all",
        define="policy_exposure",
        columns={
            "value": st.column_config.TextColumn(told, width=240),
            "before": st.column_config.NumberColumn("As it is (%)", format="%.3f"),
            "after": st.column_config.NumberColumn("Under the policy (%)", format="%.3f"),
            "points": st.column_config.NumberColumn("Difference, pp", format="%+.3f"),
        },
        show=["value", "before", "after", "points"],
        filters=filters,
        height=320,
    )


def exposure_by(made: Tried, rows: queries.Rankings, labels: pd.Series) -> pd.DataFrame:
    """value, before, after (percent of all exposure), difference (fraction), points; what moves most first."""
    code = labels.cat.codes.to_numpy()[rows.item]
    weight = rows.queries["weight"].to_numpy(float)
    names = np.append(labels.cat.categories.astype(str).to_numpy(dtype=object), "(unknown)")
    shares = []
    for rank in (rows.rank, made.new_rank):
        seen = exposure_of(rank, rows.query, weight, DISCOUNTS[0])
        of = np.bincount(np.where(code < 0, len(names) - 1, code), weights=seen, minlength=len(names))
        shares.append(of / max(of.sum(), 1e-300))
    moved = pd.DataFrame({"value": names, "before": 100 * shares[0], "after": 100 * shares[1]})
    moved["difference"] = shares[1] - shares[0]
    moved["points"] = 100 * moved["difference"]
    there = (moved["before"] > 0) | (moved["after"] > 0)
    return moved[there].sort_values("difference", key=abs, ascending=False, kind="stable").reset_index(drop=True)


def _queries(made: Tried, rows: queries.Rankings, group: Group, policy: Policy) -> None:
    """The judged queries that pay most."""
    told = rows.queries.assign(before=made.ndcg_before, after=made.ndcg_after)
    told = told[told["counts"]].assign(difference=lambda r: r["after"] - r["before"])
    told = told[told["difference"].abs() > 1e-12].sort_values("difference")
    if told.empty:
        st.caption("No judged query's nDCG@10 changes.")
        return
    told = told.assign(open=[address("query", {"q": q}) for q in told["query_id"]])
    table(
        told.head(WORST),
        title="Judged queries whose order changes, the worst first",
        key="payers",
        n=f"{min(len(told), WORST)} of {text.plural(len(told), 'judged query', 'judged queries')} whose nDCG@10 changes",
        define="own_ndcg",
        show=["text", "before", "after", "difference", "open"],
        columns={
            "text": st.column_config.TextColumn("Query", width="large"),
            "before": st.column_config.NumberColumn("nDCG@10 as it is", format="%.3f"),
            "after": st.column_config.NumberColumn("Under the policy", format="%.3f"),
            "difference": st.column_config.NumberColumn("Difference", format="%+.3f"),
            "open": st.column_config.LinkColumn("Open", display_text="query"),
        },
        full=lambda: told,
        filters={"policy": in_words(group, policy)},
        height=320,
    )
