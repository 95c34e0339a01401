"""The tables of docs/benchmarks.md that follow from a published snapshot, as Markdown.

python -m tests.bench.report_run --workspace data/workspace
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from engine.store.snapshot import open_snapshot


def interval(row: pd.Series, digits: int = 3) -> str:
    return f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def points(row: pd.Series) -> str:
    return f"{100 * row['difference']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]"


def show(title: str, frame: pd.DataFrame) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(map(str, frame.columns)) + " |")
    print("|" + "---|" * len(frame.columns))
    for row in frame.itertuples(index=False):
        print("| " + " | ".join("–" if v is None or v != v else str(v) for v in row) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    arguments = parser.parse_args()
    snapshot = open_snapshot(arguments.workspace)
    cursor = snapshot.cursor()
    run = arguments.run or cursor.execute("SELECT default_run FROM snapshot").fetchone()[0]

    def table(name: str) -> pd.DataFrame:
        return cursor.execute(f"SELECT * EXCLUDE (run_id) FROM {name} WHERE run_id = ?", [run]).df()

    about = cursor.execute("SELECT * FROM snapshot").df().iloc[0]
    print(
        f"Snapshot {snapshot.snapshot_id}, run {run}, {about.dataset}: {about.n_items:,} items, {about.n_queries:,} queries"
    )

    health = table("health")
    chosen = health[health["metric"].isin(["utilisation", "perplexity", "perplexity_ratio"]) & health["level"].notna()]
    wide = chosen.pivot(index="level", columns="metric", values="value").round(3).reset_index()
    wide["by construction"] = [
        bool(health[(health.level == lv) & health.by_construction].shape[0]) for lv in wide["level"]
    ]
    show("Codebook", wide)
    print("\n" + "; ".join(f"{m.metric} {m.value:.3f}" for m in health[health["level"].isna()].itertuples()))

    metrics = table("metrics")
    rows = []
    rankers = metrics[metrics["metric"].str.endswith(".auc")]["metric"].str.removesuffix(".auc")
    for ranker in dict.fromkeys(name for name in rankers if "within_query" not in name):
        own = metrics[metrics["metric"].str.startswith(f"{ranker}.")]
        if own.empty:
            continue
        cells = {"ranker": ranker}
        for name in ("auc", "ndcg@10"):
            for segment in ("all", "new", "seen"):
                hit = own[(own["metric"] == f"{ranker}.{name}") & (own["segment"] == segment)]
                cells[f"{name}, {segment}"] = interval(hit.iloc[0]) if len(hit) else "–"
        rows.append(cells)
    show("Rankers on test queries", pd.DataFrame(rows))

    comparisons = table("comparisons")
    rows = []
    for (ranker, baseline), group in comparisons[comparisons["metric"] == "auc"].groupby(
        ["ranker", "baseline"], sort=False
    ):
        cells = {"difference": f"{ranker} - {baseline}"}
        for segment in ("all", "new", "seen"):
            hit = group[group["segment"] == segment]
            cells[f"AUC pp, {segment}"] = f"{points(hit.iloc[0])}, p = {hit.iloc[0].p_value:.3f}" if len(hit) else "–"
        rows.append(cells)
    show("Paired differences", pd.DataFrame(rows))

    beams = metrics[metrics["metric"].str.match(r"(item_)?hit@5|validity|prefix_survival|recall|beam_diversity")]
    wide = beams.assign(cell=[interval(r) for _, r in beams.iterrows()]).pivot(
        index="metric", columns="segment", values="cell"
    )
    keep = [s for s in ("all", "new", "seen", "split=train", "split=train, out of fold") if s in wide]
    show("Beams", wide[keep].reset_index())
    free = cursor.execute("SELECT avg(valid::INT) FROM free_beams WHERE run_id = ?", [run]).fetchone()[0]
    print(f"\nUnconstrained beams that are the SID of some item: {free:.1%}")

    stages = table("stages").sort_values("position")
    stages["seconds"] = stages["seconds"].round(1)
    show("Stages", stages[["stage", "seconds", "peak_mb"]])
    snapshot.close()


if __name__ == "__main__":
    main()
