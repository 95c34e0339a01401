"""Overview: what this snapshot is, what SIDs changed, how healthy they are, and what to look at first."""

import json
from collections.abc import Hashable
from typing import Any

import pandas as pd
import streamlit as st

from app import rankers, text
from app.charts import overview as charts
from app.components import drivers
from app.components.figure import figure, table
from app.components.links import link
from app.components.metric import health_light, metric_card, verdict_badge
from app.components.opening import opening
from app.components.states import has_run, header, lacks, nothing, panel, unfilled, why_empty
from app.fetch import current, fetch
from app.queries import overview as queries
from app.queries import snapshot
from app.text import escape


def identity() -> None:
    """What was measured, in two sentences, and what of it is not real or not given."""
    info, run_id = fetch(snapshot.info), current().run_id
    counts = (
        ("items", "n_items"),
        ("queries", "n_queries"),
        ("judgments", "n_judgments"),
        ("interactions", "n_interactions"),  # those of synthetic queries too
    )
    parts = [f"{int(info[column]):,} {name}" for name, column in counts if info.get(column)]
    st.markdown(f"**{escape(info['dataset'])}**: {escape(', '.join(parts) or 'an empty catalogue')}.")
    for kind, names in (
        ("Derived, that is guessed from other fields", info["derived"]),
        ("Simulated", info["simulated"]),
    ):
        if names:
            said = ", ".join(text.FIELD_NAMES.get(n, n) for n in names)
            st.markdown(f":material/science: **{kind}:** {escape(said)}.")
    synthetic, total = fetch(snapshot.synthetic_queries)
    if synthetic:
        st.markdown(
            f":material/science: **Synthetic queries:** {synthetic:,} of {total:,} queries were made from item fields, "
            "not typed by people."
        )
    if not run_id:
        return
    run = next(r for r in fetch(snapshot.runs).to_dict("records") if r["run_id"] == run_id)
    sizes = " × ".join(str(int(k)) for k in run["sizes"]) if run["sizes"] is not None else "unknown"
    made = "imported" if run["method"] == "imported" else "trained"
    took = f", {made} in {run['seconds'] / 60:.1f} minutes" if run["seconds"] == run["seconds"] else ""
    first = {
        "category": "level 1 belongs to categories",
        "kmeans": "level 1 is k-means cells, not categories",
        "hash": "level 1 is a hash of the item's id",
    }
    st.markdown(
        f"Run **{escape(run_id)}**: method {escape(rankers.method_name(run['method']))}, preset {escape(run['preset'])}, seed "
        f"{int(run['seed'])}{escape(took)}. Codes per level {escape(sizes)}"
        f"{escape('; ' + first[run['level1']]) if run['level1'] in first else ''}. {ranked(run)}"
    )
    said_above = tuple(
        kind for kind, names in (("Derived", info["derived"]), ("Simulated", info["simulated"])) if names
    )
    head = {why_empty((kind,)) for kind in ("judgments", "queries")}
    for note in json.loads(run["notes"] or "[]"):
        if note.startswith(said_above) or note in head:  # by their field names, above in words; at the head of the page
            continue
        st.caption(":material/info: " + escape(note))
    with st.expander(
        "How this snapshot was made", icon=":material/receipt_long:", on_change="rerun", key="made"
    ) as made:
        if made.open:
            details(info, run)


def ranked(run: dict[Hashable, Any]) -> str:
    """Which ranker made the scores of the run, in a sentence."""
    family = rankers.learner(run["ranker"])
    if family is None:
        return ""
    reads = (
        "with the SID signals " + text.listed([rankers.SIGNAL_NAMES.get(s, s).lower() for s in signals])
        if (signals := dict.fromkeys(c.signal for c in fetch(snapshot.run, run["run_id"]).columns if c.signal))
        else "with the depth of the SID match"
    )
    return f"Results are ranked by {rankers.LEARNER_NAMES[family][:1].lower()}{rankers.LEARNER_NAMES[family][1:]}, {reads}."


def details(info: dict[str, Any], run: dict[Hashable, Any]) -> None:
    """Catalogue, configuration and stages, for who wants to repeat it."""
    left, right = st.columns(2)
    with left:
        st.markdown("**Catalogue**")
        facts = {
            "Source": info["source"],
            "Licence": info["license"],
            "Fingerprint": info["fingerprint"],
            "Rejected input rows": f"{int(info['n_rejected'] or 0):,}",
            "Relevant means": f"grade {text.number(info['relevant_grade'])} or more, of {text.number(info['max_grade'])}",
            "Evaluation": f"{run['evaluation']}, {text.number(run['n_test_queries'], 'count')} test queries",
            "Git commit": run["git_commit"],
            "Peak memory": f"{text.number(run['peak_mb'], 'count')} MB",
        }
        for name, value in facts.items():
            st.markdown(f"{name}: {escape(value if value is not None else text.UNKNOWN)}")
        st.markdown("**Configuration**")
        st.json(run["config"], expanded=False)
        st.markdown("**Library versions**")
        st.json(run["versions"] or "{}", expanded=False)
    with right:
        stages = fetch(snapshot.stages, current().run_id)
        table(
            stages,
            title="Stages of the run",
            columns={
                "stage": "Stage",
                "seconds": st.column_config.NumberColumn("Time (s)", format="%.1f"),
                "peak_mb": st.column_config.NumberColumn("Peak memory (MB)", format="%.0f"),
                "cached": "Taken from cache",
            },
        )


def headline() -> None:
    """The metrics with and without SIDs, the paired test, and the lift by segment."""
    rows = fetch(queries.headline, current().run_id)
    whole = {row["metric"]: row for row in rows[rows["segment"] == "all"].to_dict("records")}
    shown = [m for m in ("auc", "ndcg@10") if m in whole]
    if not shown and lacks("judgments"):
        inventory()
        return
    if not shown:
        unfilled(
            "This run holds no comparison with and without SIDs: no judged test queries.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        alone()
        return
    for metric in shown:
        row, name = whole[metric], text.METRIC_NAMES[metric]
        said = f"{name}: {text.evidence(row['low'], row['high'])} (paired by query, {text.p_value(row['p_value'])})."
        small = row["n"] < text.LEAST_QUERIES
        st.markdown(f"**{escape(f'{name}: {text.TOO_SMALL}.' if small else said)}**", help=text.DEFINITIONS[metric])
        for card, label, side, form in zip(
            st.columns(3, gap="small"), ("with SIDs", "without SIDs", "difference"), ("with_", "without_", ""),
            ("number", "number", "points"), strict=True,
        ):  # fmt: skip
            with card:
                metric_card(
                    label, row["difference" if not side else f"{side}value"], low=row[f"{side}low"],
                    high=row[f"{side}high"], n=row["n"], form=form, define="lift" if side != "with_" else metric,
                )  # fmt: skip


def inventory() -> None:
    """What there is where nothing is ranked."""
    counts = fetch(queries.inventory, current().run_id)
    cards = (
        ("Items with a SID", "items", "sid"),
        ("Distinct SIDs", "sids", "unique_share"),
        ("Queries with beams", "asked", "beam"),
    )
    for (label, name, define), place in zip(cards, st.columns(len(cards), gap="small"), strict=True):
        with place:
            metric_card(label, counts[name], form="count", define=define)


def simplest() -> None:
    """A warning where training has not shown that it beats the cosine, which needs none."""
    rows = fetch(queries.against_cosine, current().run_id)
    rows = rows[rows["n"] >= text.LEAST_QUERIES]
    for row in rows[~(rows["low"] > 0)].to_dict("records"):
        said = text.not_above_cosine(row, rankers.ranker_name(str(row["ranker"])))
        if row["served"]:
            st.warning(escape(said), icon=":material/warning:")
        else:
            st.caption(f":material/warning: {escape(said)}")


def alone() -> None:
    """The metrics of scores that were imported without any to compare them with."""
    steps = {m: fetch(queries.ladder, current().run_id, m, "all") for m in ("auc", "ndcg@10")}
    known = {m: rows.iloc[0] for m, rows in steps.items() if len(rows) == 1}
    for (metric, row), place in zip(known.items(), st.columns(max(len(known), 1)), strict=False):
        with place:
            metric_card(
                f"{text.METRIC_NAMES[metric]} with SIDs", row["value"], low=row["low"], high=row["high"], n=row["n"],
                define=metric,
            )  # fmt: skip


def comparisons() -> None:
    """Lift by segment beside the gap between training and test queries, then the ladder of rankers."""
    rows = fetch(queries.headline, current().run_id)
    known = [m for m in text.METRIC_NAMES if m in set(rows["metric"])]
    metric = None
    if known:
        metric = st.segmented_control(
            "Metric", known, default=known[0], required=True, format_func=lambda m: text.METRIC_NAMES[m], key="metric",
            bind="query-params",
        )  # fmt: skip
        metric = metric or known[0]
    left, right = st.columns(2, gap="large")
    if metric:
        with left, panel("Lift by segment", height=360):
            lift(rows[rows["metric"] == metric], metric)
    with right if metric else left, panel("Trained on and held out", height=360):
        gap()
    if metric:
        with panel("Ladder of rankers", height=420):
            ladder(metric)


def lift(mine: pd.DataFrame, metric: str) -> None:
    """Where SIDs help and where not."""
    name = text.METRIC_NAMES[metric]
    clear = mine[(mine["low"] > 0) & (mine["n"] >= text.LEAST_QUERIES)]
    figure(
        charts.lift(mine),
        title=f"Where SIDs help: {name} by segment",
        subtitle="With SIDs minus the strong ranker without, 95 % intervals, paired by query",
        data=mine,
        n=f"{len(mine)} segments, all test queries",
        define="lift",
        filters={"metric": metric},
        key="lift",
        alt=f"{name} lift per segment; the interval is clear of zero and positive in {len(clear)} of {len(mine)} segments.",
    )


HITS = {
    "SID": ("hit", "Queries with a relevant item among the beams, by depth; sharing a SID makes a hit easier"),
    "item": ("item_hit", "A hit counts 1 / the items under the prefix, by depth; the deepest level compares methods"),
}
"""Ways to count hits: the measure, and what it says."""


def gap() -> None:
    """How much better the beams aim at queries that the generator was trained on."""
    rows = fetch(queries.hits, current().run_id, "hit")
    enough = rows[rows["n"] >= text.LEAST_QUERIES]
    if enough.empty:
        st.subheader("Trained on and held out", anchor=False, help=text.DEFINITIONS["train_gap"])
        unfilled(
            "How often the beams hold a relevant item was not measured on enough test queries.", needs=("SIDs", "beams")
        )
        return
    counted = st.segmented_control(
        "Hits counted by", list(HITS), default="SID", required=True, key="hits_by", bind="query-params",
        help=text.DEFINITIONS["train_gap"],
    ) or "SID"  # fmt: skip
    measure, meaning = HITS[counted]
    rows = fetch(queries.hits, current().run_id, measure)
    told = gap_in_words(rows[rows["n"] >= text.LEAST_QUERIES])
    if counted == "item":
        told = f"Counted by item. {told}"
    figure(
        charts.hits(rows),
        title="Trained on and held out: hits of the beams",
        subtitle=meaning,
        data=rows,
        n=f"{len(set(rows['segment']))} groups of queries, all",
        define="train_gap",
        filters={"hits_by": counted},
        key="hits",
        alt=told,
    )
    st.markdown(escape(told))


def gap_in_words(rows: pd.DataFrame) -> str:
    """The gap at the deepest level in a sentence, and what it means."""
    level = int(rows["level"].max())
    hit = rows[rows["level"] == level].set_index("segment")["value"].to_dict()
    if not {"all", "split=train"} <= set(hit):
        return "There are too few judged training queries to compare the test queries with."
    said = {name: text.number(value, "percent") for name, value in hit.items()}
    start = (
        f"At level {level} the beams of a generator that was trained on a query hit {said['split=train']} of the time, "
    )
    fair = "split=train, out of fold"
    if fair in hit:
        memory = hit["split=train"] - hit[fair]
        told = (
            f"{start}those of one that never saw it {said[fair]} ({text.number(memory, 'points')} on the same queries)"
        )
    else:
        memory = hit["split=train"] - hit["all"]
        told = f"{start}{text.number(memory, 'points')} more often than on test queries"
    meaning = (
        "What is gained by having seen a query is memory, not skill: a ranker taught with it would trust SIDs too much, so "
        "it learns from out-of-fold features alone."
        if memory > 0
        else "Having seen a query gains nothing here; the ranker learns from out-of-fold features all the same."
    )
    return f"{told}. Test queries: {said['all']}. {meaning}"


def ladder(metric: str) -> None:
    """Every ranker of the run on one metric."""
    name = text.METRIC_NAMES[metric]
    steps = fetch(queries.ladder, current().run_id, metric, "all")
    if steps.empty or steps["n"].max() < text.LEAST_QUERIES:
        st.subheader(f"Ladder of rankers: {escape(name)}", anchor=False, help=text.DEFINITIONS["ladder"])
        nothing(f"{text.TOO_SMALL}: fewer than {text.LEAST_QUERIES} test queries.")
        return
    run = fetch(snapshot.run, current().run_id)
    main = steps[steps["ranker"].isin((*rankers.MAIN, run.ranker, run.baseline))]
    shown = steps
    if len(main) < len(steps) and not st.toggle(
        f"All {len(steps)} rankers: every SID signal beside its dense twin", key="rungs", bind="query-params"
    ):
        shown = main
    best = rankers.ranker_name(str(steps["ranker"].iloc[int(steps["value"].argmax())]))
    figure(
        charts.ladder(
            shown,
            metric_name=name,
            own=run.ranker,
            ceiling=fetch(snapshot.info)["oracle_auc"] if metric == "auc" else None,
        ),
        title=f"Ladder of rankers: {name}",
        subtitle="From text similarity alone to everything, on the same test queries; ● ranks the results of this run",
        data=steps.assign(name=steps["ranker"].map(rankers.ranker_name)),
        n=f"{len(shown)} of {len(steps)} rankers, {text.number(steps['n'].max(), 'count')} test queries, all",
        define="ladder",
        filters={"metric": metric},
        key="ladder",
        alt=f"{name} of {len(shown)} rankers; the highest of all is: {best}.",
    )


def generator() -> None:
    """How often the beams hold what relevant items carry, and whether every beam exists."""
    rows = fetch(queries.generation, current().run_id)
    if rows.empty:
        unfilled("This run was not measured on test queries.", needs=("SIDs", "beams"))
        return
    named = rows.assign(
        measure=[text.generation_name(m) for m in rows["metric"]], on=[text.segment_name(s) for s in rows["segment"]]
    )
    small = named["n"] < text.LEAST_QUERIES
    named["note"] = small.map({True: text.TOO_SMALL, False: ""})
    named.loc[small, ["value", "low", "high"]] = float("nan")
    table(
        named, title="How well the generator aims", define="generation", n="test queries, all",
        show=["measure", "on", "value", "low", "high", "n", *(["note"] if small.any() else [])],
        columns={
            "measure": st.column_config.TextColumn("Measure", width=280),
            "on": st.column_config.TextColumn("Measured on", width=110),
            "note": "Note",
            "n": st.column_config.NumberColumn("Queries", format="localized"),
        },
        percent={"value": "Value", "low": "Low", "high": "High"},
    )  # fmt: skip


def health() -> None:
    """Six lights in two rows."""
    found = fetch(queries.lights, current().run_id)
    for start in (0, 3):
        for light, place in zip(found[start : start + 3], st.columns(3), strict=True):
            with place:
                health_light(
                    light.title, light.verdict, value=light.value, threshold=light.threshold or why_empty(light.needs),
                    page=light.page, params=light.params, define=light.define,
                )  # fmt: skip


def first() -> None:
    """The worst findings, each one click from its evidence."""
    found = fetch(queries.findings, current().run_id)
    if found.empty:
        nothing("No finding passed its threshold in this run.")
        return
    for row in found.head(8).to_dict("records"):
        with st.container(border=True, horizontal=True, vertical_alignment="center", gap="small"):
            with st.container(width=68):
                verdict_badge(str(row["severity"]), "Note" if row["severity"] == "info" else None)
            with st.container(gap="xxsmall"):
                st.markdown(f"**{escape(row['title'])}**")
                if isinstance(row["detail"], str):
                    st.caption(escape(row["detail"]))
            with st.container(width="content"):
                link(row["page"], "See the evidence", row["params"] or EVIDENCE.get(row["kind"]))
    if len(found) > 8:
        with st.expander(text.plural(len(found) - 8, "more finding", "more findings")):
            table(
                found.drop(columns=["params"]).iloc[8:], title="More findings", heading=False, full=lambda: found,
                columns={"position": "#", "severity": "Severity", "title": "Finding", "detail": "Detail"},
                show=["position", "severity", "title", "detail"],
            )  # fmt: skip


# where the evidence of a finding without parameters of its own is found
EVIDENCE = {"health": {"health": "true"}}
STORY_NAMES = {
    "won": ("A query won", ":material/trending_up:"),
    "lost": ("A query lost", ":material/trending_down:"),
    "ambiguous": ("An ambiguous query", ":material/call_split:"),
}


def stories() -> None:
    """Queries that show what codes do, each told from the ranker's own contributions; the example opens the page."""
    rows = fetch(queries.stories, current().run_id).query("kind != 'example'")
    if rows.empty:
        unfilled(
            "No query of this run tells a story: in none with traffic are SIDs the reason why a relevant item moved.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        return
    for row, place in zip(rows.to_dict("records"), st.columns(len(rows)), strict=True):
        name, icon = STORY_NAMES.get(str(row["kind"]), (str(row["kind"]), ":material/menu_book:"))
        with place, st.container(border=True, height="stretch"):
            st.markdown(f"{icon} **{escape(name)}**")
            st.markdown(escape(row["sentence"]))
            item = {"item": row["item_id"]} if isinstance(row["item_id"], str) else {}
            link("query", "Follow the query", {"q": row["query_id"]} | item)
            if item:
                link("explain", "Why this item", {"q": row["query_id"]} | item)


def compared() -> None:
    """What SIDs change in rankings, measured and told."""
    with panel("Comparisons"):
        comparisons()
    with panel("Generator"):
        generator()
    with panel("What decides"):
        if said := drivers.summary():
            st.markdown(f":material/tune: {escape(said)}", help=text.DEFINITIONS["drivers"])
            link("sellers", "What decides the results of a seller or category")
    st.header("Stories", anchor=False, help="Chosen by rule from the judged queries, not by hand.")
    with panel("Stories"):
        stories()


header("Overview", "What semantic identifiers change in this catalogue's search, and where to look first.")
with panel("How it works", height=260):
    opening()
ran = has_run()
if ran:
    with panel("Headline"):
        headline()
        simplest()
with panel("What this snapshot is"):
    identity()
if ran:
    st.header("What should I look at first?", anchor=False)
    with panel("Findings"):
        first()
    st.header("Health", anchor=False, help="Each light names its threshold and links to the page that explains it.")
    with panel("Health lights"):
        health()
    st.header("With and without SIDs", anchor=False)
    if lacks("judgments"):
        unfilled("Nothing is ranked.", needs=("judgments",))
    else:
        compared()
