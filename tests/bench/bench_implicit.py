"""Grades read from clicks against the truth, on the generated marketplace where it is known.

    python -m tests.bench.bench_implicit [--items 6000] [--sessions 16,160] [--method none] [--no-train]

For logs of several lengths (`--sessions`: mean searches a query; 16 is the bundled marketplace's): how grades read from
clicks agree with true grades; how well attractiveness tells relevant from irrelevant, beside plain click-through; how far
either still carries the position where the item was shown (correlation of estimate minus truth with the mean position);
and the AUC on judged test queries of rankers that were trained on judgments, on clicks alone, and on both.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from engine import pipeline
from engine.config import ClickGradesConfig, preset
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import ingest
from engine.datasets.marketplace import clicks, write
from engine.datasets.marketplace.items import Items, generate_items
from engine.datasets.marketplace.queries import Intents, write_queries
from engine.datasets.marketplace.taxonomy import Taxonomy, build_taxonomy
from engine.datasets.marketplace.truth import grade, utility
from engine.labeling.agreement import measure_agreement
from engine.labeling.implicit import grade_pairs, log_reader

MINIMA = (3.0, 5.0, 10.0)
PLACES = ((1, 2), (2, 4), (4, 10))
"""Mean positions from, to (below) at which bias is shown."""


class Truth(NamedTuple):
    """What the generator knows."""

    taxonomy: Taxonomy
    items: Items
    intents: Intents

    def of(self, pairs: pd.DataFrame) -> np.ndarray:
        """(N,) true grades of pairs by their ids."""
        query, item = (pairs[name].str[1:].astype(int).to_numpy() for name in ("query_id", "item_id"))
        return grade(utility(self.taxonomy, self.items, self.intents, query, item))


def known_truth(n_items: int, seed: int) -> Truth:
    taxonomy = build_taxonomy(n_items, seed)
    items = generate_items(taxonomy, seed)
    sizes = write.query_sizes(n_items, len(taxonomy.leaves))
    n_queries = sizes.logged + round((1 - write.SEEN) * sizes.judged)
    return Truth(taxonomy, items, write_queries(taxonomy, items, n_queries, seed))


def marketplace(folder: Path, n_items: int, seed: int, sessions: int) -> Path:
    """The bundled marketplace with a log of another length; its frozen constant is put back."""
    usual = write.SESSIONS_PER_QUERY
    write.SESSIONS_PER_QUERY = sessions
    try:
        write.write_marketplace(folder, n_items=n_items, seed=seed)
    finally:
        write.SESSIONS_PER_QUERY = usual
    return folder


class Read(NamedTuple):
    """Pairs of a log with what is true of them."""

    pairs: pd.DataFrame  # As `grade_pairs`, with grade_true, attractive_true, ctr, position.
    decay: float


def read(catalogue: Catalogue, truth: Truth, config: ClickGradesConfig) -> Read:
    """Grades of the whole log."""
    found = grade_pairs(catalogue.interactions, catalogue.items, catalogue.queries, catalogue.settings, config)
    log = catalogue.interactions
    log = log.assign(at=log["impressions"] * log["position"]).groupby(["query_id", "item_id"])[
        ["impressions", "clicks", "at"]
    ]
    plain = log.sum().reset_index()
    plain = plain.assign(ctr=plain["clicks"] / plain["impressions"], position=plain["at"] / plain["impressions"])
    pairs = found.pairs.merge(plain[["query_id", "item_id", "ctr", "position"]], on=["query_id", "item_id"])
    true = truth.of(pairs)
    return Read(
        pairs.assign(grade_true=true, attractive_true=np.array(clicks.ATTRACTIVENESS)[true]), found.examination.decay
    )


def agreement_row(sessions: int, least: float, found: Read) -> str:
    p = found.pairs
    a = measure_agreement(
        p["grade"].to_numpy(),
        p["grade_true"].to_numpy(),
        p["query_id"].to_numpy(),
        grades=[0, 1, 2, 3],
        relevant_grade=2,
    )
    relevant = p["grade_true"] >= 2
    inside = p["attractive_true"].between(p["low"], p["high"]).mean()
    kappa = [f"{m.value:.2f} [{m.low:.2f}, {m.high:.2f}]" for m in (a.kappa_quadratic, a.binary_kappa)]
    return (
        f"| {sessions} | {least:g} | {len(p):,} | {a.n_queries:,} | {a.percent.value:.0%} | {kappa[0]} | {kappa[1]} | "
        f"{roc_auc_score(relevant, p['attractiveness']):.3f} | {roc_auc_score(relevant, p['ctr']):.3f} | {inside:.0%} |"
    )


def bias_rows(sessions: int, found: Read) -> list[str]:
    p, rows = found.pairs, []
    for name, estimate in (("click-through", p["ctr"]), ("attractiveness", p["attractiveness"])):
        off = estimate - p["attractive_true"]
        by_place = [off[(p["position"] >= low) & (p["position"] < high)].mean() for low, high in PLACES]
        cells = " | ".join(f"{value:+.3f}" for value in by_place)
        rows.append(f"| {sessions} | {name} | {np.corrcoef(off, p['position'])[0, 1]:+.2f} | {cells} |")
    return rows


class Arm(NamedTuple):
    """A catalogue to train on; its test queries keep the judgments that came with them."""

    name: str
    keeps: tuple[str, ...]  # Splits whose given judgments stay.
    mode: str


ARMS = (
    Arm("judgments", ("train", "valid", "test"), "never"),
    Arm("clicks alone", ("test",), "always"),
    Arm("judgments and clicks", ("train", "valid", "test"), "always"),
)


def trained_rows(sessions: int, folder: Path, workspace: Path, methods: list[str], preset_name: str) -> list[str]:
    """AUC of the served ranker on the judged test queries, for every arm and method."""
    rows = []
    given = pd.read_parquet(folder / "judgments.parquet")
    for arm in ARMS:
        files = workspace / f"files-{sessions}-{ARMS.index(arm)}"
        shutil.copytree(folder, files)
        given[given["split"].isin(arm.keeps)].to_parquet(files / "judgments.parquet")
        catalogue = ingest(files, workspace, read_log=log_reader(arm.mode)).catalogue
        train = catalogue.judgments[catalogue.judgments["split"] != "test"]
        for method in methods:
            config = preset(preset_name, method=method)
            run = pipeline.train(workspace, catalogue.fingerprint, config)
            metrics = pd.read_parquet(run.folder / "tables" / "metrics.parquet").set_index(["metric", "segment"])
            m = metrics.loc[(f"{config.served_ranker}.auc", "all")]
            rows.append(f"| {sessions} | {method} | {arm.name} | {len(train):,} | {train['query_id'].nunique():,} | "
                        f"{m['value']:.3f} [{m['low']:.3f}, {m['high']:.3f}] | {int(m['n'])} |")  # fmt: skip
            print(rows[-1], flush=True)
        shutil.rmtree(files)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=6_000)
    parser.add_argument("--sessions", default="16,160")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="none", help="methods to train, separated by commas")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--no-train", action="store_true")
    given = parser.parse_args()
    began, truth = time.perf_counter(), known_truth(given.items, given.seed)
    lengths = [int(part) for part in given.sessions.split(",")]
    with tempfile.TemporaryDirectory() as made:
        workspace = Path(made)
        folders = {n: marketplace(workspace / f"market-{n}", given.items, given.seed, n) for n in lengths}
        catalogues = {n: ingest(folder, workspace).catalogue for n, folder in folders.items()}
        print("| sessions | minimum | pairs | queries | same grade | quadratic kappa | relevant or not, kappa | AUC of "
              "attractiveness | of click-through | truth within interval |\n|" + "---|" * 10)  # fmt: skip
        reads = {
            (n, m): read(c, truth, ClickGradesConfig(min_examined=m)) for n, c in catalogues.items() for m in MINIMA
        }
        for (n, least), found in reads.items():
            print(agreement_row(n, least, found))
        places = " | ".join(f"{low} to {high}" for low, high in PLACES)
        print(f"\n| sessions | estimate | correlation with position | {places} |\n|" + "---|" * (3 + len(PLACES)))
        for n in lengths:
            print("\n".join(bias_rows(n, reads[n, 5.0])))
        print("\nDecay (truth 0.70): " + ", ".join(f"{n} sessions {reads[n, 5.0].decay:.2f}" for n in lengths) + "\n")
        if not given.no_train:
            print(
                "| sessions | method | trained on | pairs | queries | AUC on judged test queries | test queries |\n|"
                + "---|" * 7
            )
            for n, folder in folders.items():
                trained_rows(n, folder, workspace, given.method.split(","), given.preset)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
