"""Runs: every run of the snapshot; what differs between two, whether it is better, what became of the codes, what it cost."""

import streamlit as st

from app import text
from app.components import comparing, drift, methods, notes
from app.components.figure import table
from app.components.states import header, nothing, panel
from app.fetch import base, current, fetch
from app.queries import runs as queries
from app.rankers import method_name

NUMBER = st.column_config.NumberColumn


def every_run() -> None:
    """What each run measured on test queries, and what it cost."""
    rows = fetch(queries.table)
    if rows.empty:
        nothing(
            "This snapshot holds no run yet.",
            remedy="Train one and publish: `python -m engine train`, then `python -m engine publish`.",
        )
        return
    named = rows.assign(
        name=rows["method"].map(method_name), shown=["● shown" if r == current().run_id else "" for r in rows["run_id"]],
    )  # fmt: skip
    table(
        named, title="Runs of this snapshot", key="runs", define="runs",
        show=["shown", "name", "run_id", "preset", "seed", "codes", "auc", "auc_lift", "ndcg", "ndcg_lift", "ndcg_lift_low", "ndcg_lift_high",
              "n_test_queries", "seconds", "peak_mb", "created_at"],
        columns={
            "shown": st.column_config.TextColumn("", width=70), "name": st.column_config.TextColumn("Method", width="medium"), "run_id": "Run",
            "preset": "Preset", "seed": "Seed", "codes": "Codes per level", "auc": NUMBER("AUC", format="%.4f"),
            "auc_lift": NUMBER("by SIDs", format="%+.4f"), "ndcg": NUMBER("nDCG@10", format="%.4f"), "ndcg_lift": NUMBER("by SIDs", format="%+.4f"),
            "ndcg_lift_low": NUMBER("low", format="%+.4f"), "ndcg_lift_high": NUMBER("high", format="%+.4f"),
            "n_test_queries": NUMBER("Test queries", format="localized"), "seconds": NUMBER("Time (s)", format="%.0f"),
            "peak_mb": NUMBER("Peak memory (MB)", format="localized"),
            "created_at": st.column_config.DatetimeColumn("Made (UTC)", format="YYYY-MM-DD HH:mm"),
        },
    )  # fmt: skip


header("Runs", "What differs between two runs, which one ranks better, and what became of the codes.")
with panel("Runs", height=200):
    every_run()
other = base()
two = comparing.pair(other) if other and current().run_id else None
st.header("Is it better?", anchor=False, help=text.DEFINITIONS["paired_runs"])
if two is None:
    nothing(
        "Choose a run under *Compare with*, at the side, and everything that differs is shown here: of this snapshot, or of an older one."
    )
else:
    with panel("Whether it is better", height=160):
        comparing.headline(two)
        notes.notes("run", two.run, f"{two.name} against {two.base_name}")
PARTS = {
    "Measures": comparing.measures,
    "Query by query": comparing.queries_side_by_side,
    "Codes": drift.show,
    "Settings": comparing.settings,
}
ALONE = {"While learning": comparing.learning, "Cost": comparing.cost}
names = [*(PARTS if two else ()), *ALONE, "Methods"]
tabs = st.tabs(names, key="part" if two else "alone", on_change="rerun", bind="query-params")
for name, tab in zip(names, tabs, strict=True):
    if tab.open:
        with tab, panel(name, height=360):
            if name == "Methods":
                methods.show()
            elif name in ALONE:
                ALONE[name](two)
            elif two is not None:
                PARTS[name](two)
