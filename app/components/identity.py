"""What a snapshot and its run are: the catalogue, what of it is guessed or simulated, how the run was made."""

import json
from collections.abc import Hashable
from typing import Any

import streamlit as st

from app import rankers, text
from app.components.figure import table
from app.components.states import why_empty
from app.fetch import current, fetch
from app.queries import snapshot
from app.text import escape


def catalogue() -> None:
    """What was measured, in one sentence, and what of it is not real or not given."""
    info = fetch(snapshot.info)
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


def run_facts() -> None:
    """How the run was made, its notes, and what repeats it."""
    info, run_id = fetch(snapshot.info), current().run_id
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
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Catalogue**")
        facts = {
            "Source": info["source"],
            "Licence": info["license"],
            "Fingerprint": info["fingerprint"],
            "Rejected input rows": f"{int(info['n_rejected'] or 0):,}",
            "Relevant means": f"grade {_grade(info['relevant_grade'])} or more, of {_grade(info['max_grade'])}",
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


def _grade(value: float | None) -> str:
    return text.UNKNOWN if value is None or value != value else f"{value:g}"
