"""Where the contrastive signal goes: what quantization keeps of it, level by level.

    python -m tests.bench.bench_contrast --workspace data/workspace [--run RUN] [--seeds 3]

On the catalogue of a finished run with SIDs. Each method's tokenizer is trained anew, served and per fold, as a run does.
The cosine of query and item is taken in its latent space: with the item as it is, and with the item as the sum of its
first 1, 2 .. L code vectors, which is all that codes can tell of it. The query stays unquantized, so that no generator's
mistakes count. Each cosine joins the no-SID MLP (`strong`), trained on out-of-fold rows; AUC on test queries less that of
`strong`, in points, mean over seeds, 95 % interval by query.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.answering.live import newest_run
from engine.config import Config, QuantizerConfig, codebook_sizes, preset
from engine.datasets.ingest import load
from engine.evaluation.bootstrap import bootstrap_auc, resample_queries
from engine.learning.judged import Judged
from engine.problem.division import Division, divide
from engine.problem.vectors import Vectors, load_vectors
from engine.quantizers.contrastive import train_contrastive
from engine.quantizers.protocol import Known
from engine.quantizers.sampling import TrainingSet
from engine.quantizers.taxonomy import roll_up
from engine.relevance.features import DENSE
from engine.relevance.folds import CrossFitted, ServedRows
from engine.relevance.ranker import grade_levels, train_ranker
from engine.runs import Run, load_arrays
from engine.threads import one_thread

METHODS = ("dsirm", "dsirm-no-contrastive", "dsirm-no-category")
FACTORS = (1.0, 4.0)
"""Codes a level at levels 2 and 3: as derived, and four times as many."""
RESAMPLES = 2_000


class Bench(NamedTuple):
    """The judged pairs and what every method starts from."""

    config: Config
    vectors: Vectors
    division: Division
    categories: list[str | None]
    separator: str
    query: np.ndarray
    item: np.ndarray
    grade: np.ndarray
    relevant: np.ndarray
    dense: np.ndarray
    dense_fit: np.ndarray


def prepare(workspace: Path, run_id: str) -> Bench:
    """Load what the run shares with others."""
    run = Run.load(workspace, run_id)
    catalogue = load(workspace, run.fingerprint)
    judged = Judged(**load_arrays(run.shared_folder("judged") / "judged.safetensors"))
    names = [name if isinstance(name, str) else None for name in catalogue.items["category"]]
    return Bench(
        run.config, load_vectors(run, catalogue), divide(catalogue, run.config.split), names,
        catalogue.settings.category_separator, judged.asked, judged.item, judged.grade,
        judged.grade >= catalogue.settings.relevant_grade, judged.dense, judged.dense_fit,
    )  # fmt: skip


def cosines(bench: Bench, config: QuantizerConfig, factor: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(J, L + 1) cosines of the judged pairs, as served and by each query's own producer: whole latent, then levels."""
    categories = bench.categories
    used = len({name for name in categories if name is not None})
    sizes = codebook_sizes(len(categories), used, config.levels, factor)
    forced = roll_up(categories, max_codes=sizes[0], separator=bench.separator).code if config.category_level else None
    made = []
    for stack in range(len(bench.division.seen)):
        lessons = TrainingSet(bench.vectors.items, bench.vectors.queries, *bench.division.pairs(stack), Known(forced))
        quantizer = train_contrastive(lessons, config, sizes, seed=100 * seed + stack).quantizer
        items = quantizer.encode_items(bench.vectors.items, Known(forced))
        query = _unit(quantizer.encode_queries(bench.vectors.queries).latent)[bench.query]
        known = np.zeros_like(items.latent)
        columns = [_unit(items.latent)]
        for level, vectors in enumerate(quantizer.codebooks.vectors):
            known = known + vectors.numpy()[items.codes[:, level]]
            columns.append(_unit(known))
        made.append(np.stack([np.einsum("md,md->m", query, x[bench.item]) for x in columns], axis=1))
    producer = bench.division.producer[bench.query]
    return made[0], np.stack(made)[producer, np.arange(len(producer))]


def scores(bench: Bench, served: np.ndarray | None, fit: np.ndarray | None, seed: int) -> np.ndarray:
    """(J,) of the no-SID MLP with one more column, or without."""
    columns = DENSE if served is None else (*DENSE, "cosine")
    values = bench.dense if served is None else np.column_stack([bench.dense, served])
    rows_fit = bench.dense_fit if fit is None else np.column_stack([bench.dense_fit, fit])
    split = bench.division.split.split[bench.query]
    rows = CrossFitted(
        columns, rows_fit, None, bench.query, bench.division.producer[bench.query], bench.division.seen
    ).select(split == "train")
    valid = split == "valid"
    trained = train_ranker(
        rows, bench.grade[split == "train"], config=bench.config.ranker, grade_values=grade_levels(bench.grade),
        seed=seed, valid=ServedRows(values[valid], None, bench.grade[valid]),
    )  # fmt: skip
    return trained.scorer.logit(values, None)


@one_thread()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--run", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    bench = prepare(given.workspace, given.run or newest_run(given.workspace))
    test = bench.division.split.split[bench.query] == "test"
    asked, at = np.unique(bench.query[test], return_inverse=True)
    weights, everyone = resample_queries(len(asked), RESAMPLES, seed=0), {"all": np.ones(len(asked), dtype=bool)}

    def estimate(score: np.ndarray) -> tuple[float, np.ndarray]:
        found = bootstrap_auc(score[test], bench.relevant[test], at, weights, everyone)["all"]
        return found.value, found.draws

    plain = [estimate(scores(bench, None, None, seed)) for seed in range(given.seeds)]
    print(f"{len(asked)} test queries; strong AUC {np.mean([value for value, _ in plain]):.4f}\n")
    print(
        "| method | codes at levels 2, 3 | whole latent | level 1 | levels 1-2 | levels 1-3 |\n|---|---|---|---|---|---|"
    )
    for method in METHODS:
        config = preset(bench.config.preset, method=method).quantizer
        for factor in FACTORS:
            gains = []
            for seed in range(given.seeds):
                served, fit = cosines(bench, config, factor, seed)
                for column in range(served.shape[1]):
                    value, draws = estimate(scores(bench, served[:, column], fit[:, column], seed))
                    gains.append((column, value - plain[seed][0], draws - plain[seed][1]))
            cells = []
            for column in range(config.levels + 1):
                value = 100 * float(np.mean([gain for c, gain, _ in gains if c == column]))
                low, high = np.quantile(100 * np.mean([d for c, _, d in gains if c == column], axis=0), [0.025, 0.975])
                cells.append(f"{value:+.2f} [{low:+.2f}, {high:+.2f}]")
            derived = codebook_sizes(len(bench.categories), len(set(bench.categories) - {None}), config.levels, factor)
            print(f"| {method} | {' / '.join(map(str, derived[1:]))} | {' | '.join(cells)} |", flush=True)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


if __name__ == "__main__":
    main()
