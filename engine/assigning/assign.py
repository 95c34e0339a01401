"""Gives the items of a folder SIDs under a finished run's codebook: `python -m engine assign FOLDER`.

An item is encoded and quantized as those of the run were (METHOD, section 1), with every weight as it was published.
Items that have a SID keep it, and so does the generator: it spells codes that no item had, for its vocabulary is the
whole codebook.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine import leftovers
from engine.assigning import generations
from engine.audit.newcomers import Distance, Load
from engine.audit.prefixes import sid_texts
from engine.datasets.contract import Catalogue
from engine.datasets.ingest import NewItems, load, read_items
from engine.datasets.report import Report
from engine.errors import DataError, RunError
from engine.problem.keywords import new_views
from engine.problem.vectors import encode_texts
from engine.progress import Progress
from engine.quantizers.protocol import Known, Quantizer
from engine.quantizers.tokenizer import load_quantizer, taught_by_queries
from engine.runs import Run, Watcher, load_arrays
from engine.threads import one_thread

SHOWN = ["item_id", "title", "category", "seller", "brand", "price", "currency"]


class Assignment(NamedTuple):
    """What came of `assign`."""

    run_id: str
    generation: dict[str, Any] | None  # Its row of table `generations`; None where every item had a SID already.
    made: bool  # False where equal items were assigned before: then the generation is that one.
    n_known: int  # Items of the folder that had a SID before this command.
    report: Report


class _Measured(NamedTuple):
    """New items under the codebook."""

    codes: np.ndarray  # (M, L) int64.
    distance: np.ndarray  # (M,) float64 norm of the last residual.
    unknown: np.ndarray | None  # (M,) bool: no code belongs to the item's category; None where level 1 is not forced.


def assign(
    folder: Path, workspace: Path, run_id: str, *, max_reject_share: float = 0.05, watcher: Watcher | None = None
) -> Assignment:
    """Write the items of `folder` that the run does not know as its next generation, unless there is none.

    Raises RunError where the run is unknown, has no SIDs or no quantizer that encodes new items, and DataError as
    `ingest` does and where vectors are given that the run was not trained on, or the reverse.
    """
    watcher = watcher or Watcher()
    run = Run.load(workspace, run_id)
    _check_run(run)
    catalogue = load(workspace, run.fingerprint)
    with watcher.step("Reading and validating") as progress:
        read = read_items(folder, workspace, catalogue.settings, max_reject_share=max_reject_share, progress=progress)
    _check_vectors(run, catalogue, read)
    leftovers.clear(workspace)
    with run.lock():
        generations.write_first(run)
        done = generations.rows(run)
        same = next((row for row in done[1:] if row["content"] == read.content), None)
        held = load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")
        later = generations.later(run, held["codes"].shape[1])
        known = read.items["item_id"].isin(catalogue.items["item_id"]) | read.items["item_id"].isin(later.item_ids)
        if same is not None or known.all():
            return Assignment(run_id, same, False, int(known.sum()), read.report)
        items = read.items[~known].reset_index(drop=True)
        with watcher.step("Encoding titles") as progress:
            x = _vectors(run, items, read, ~known.to_numpy(), progress)
        with watcher.step("Assigning SIDs"):
            made = _measure(run, catalogue, items, x)
            codes = np.concatenate([held["codes"], later.codes])
            base = held["residual_norms"][:, -1].astype(np.float64)
            table, counts = _tables(items, made, codes, base)
            row: dict[str, Any] = {
                "generation": len(done),
                "created_at": pd.Timestamp.now("UTC").tz_localize(None).floor("s"),
                "source": folder.resolve().name,
                "content": read.content,
                "encoder": None if catalogue.given_text else run.config.encoder.model,
                "n_items": len(items),
                "n_known": int(known.sum()),
                **counts,
            }
            generations.write(run, row, table.assign(generation=len(done)))
    return Assignment(run_id, row, True, int(known.sum()), read.report)


def place_items(run: Run, catalogue: Catalogue, items: pd.DataFrame, x: np.ndarray) -> np.ndarray:
    """(M, L) the SIDs that rows of items with the vectors `x` (M, D) get, as `assign` would give them. Raises RunError where the
    run cannot encode new items."""
    _check_run(run)
    return _measure(run, catalogue, items, x).codes


def _check_run(run: Run) -> None:
    if run.config.method == "none":
        raise RunError(f"Run '{run.run_id}' has no SIDs; name one that has.")
    if run.config.method == "imported":
        raise RunError(
            f"Run '{run.run_id}' was imported: the quantizer that made its SIDs is not here, so it cannot encode new "
            "items. Import the SIDs that the other system gives them."
        )
    if run.config.quantizer.dynamic_steps and taught_by_queries(run.config.quantizer):
        raise RunError(
            f"Run '{run.run_id}' trained its encoder's last layer along (quantizer.dynamic_steps), which is not kept, so "
            "it cannot encode new items. Train with quantizer.dynamic_steps=0."
        )


def _check_vectors(run: Run, catalogue: Catalogue, read: NewItems) -> None:
    given, found = catalogue.given_text, read.text_vectors
    if given and found is None:
        raise DataError(
            f"Run '{run.run_id}' was trained on vectors that came with its data ({given.width} numbers), and the new items "
            "have none; add the column text_embedding, made by the same encoder."
        )
    if found is not None and not given:
        raise DataError(
            f"The new items bring text_embedding ({found.shape[1]} numbers), but run '{run.run_id}' encoded titles with "
            f"'{run.config.encoder.model}'; leave that column out."
        )
    if given and found is not None and found.shape[1] != given.width:
        raise DataError(
            f"text_embedding has {found.shape[1]} numbers, those of run '{run.run_id}' have {given.width}; give vectors of "
            "the same encoder."
        )


def _vectors(run: Run, items: pd.DataFrame, read: NewItems, fresh: np.ndarray, progress: Progress) -> np.ndarray:
    """(M, D) float32 of the new items as SIDs see them: of the folder's own vectors, or of the titles encoded."""
    given = read.text_vectors
    titles = given[fresh] if given is not None else encode_texts(run, items["title"].tolist(), progress)
    return new_views(run, items, titles, progress)


@one_thread()
def _measure(run: Run, catalogue: Catalogue, items: pd.DataFrame, x: np.ndarray) -> _Measured:
    """Quantize new items (M, D) as the served stack was: level 1 by category where one of the run's codes belongs to it."""
    tokens = run.stage_folder("tokenize")
    quantizer: Quantizer = load_quantizer(tokens / "stack0" / "quantizer")
    code = None
    if quantizer.forced_level:
        owners = pd.read_parquet(tokens / "category_codes.parquet").set_index("category")["code_1"]
        code = (
            items["category"].str.strip().map(owners).fillna(-1).to_numpy(dtype=np.int64, copy=True)
        )  # torch wants to own it
    found = quantizer.encode_items(x, Known.of(items, code, catalogue.settings.category_separator))
    return _Measured(found.codes, found.residual_norms[:, -1].astype(np.float64), None if code is None else code < 0)


def _tables(
    items: pd.DataFrame, made: _Measured, codes: np.ndarray, base: np.ndarray
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Table `assigned`, and what it counts for `generations`; `codes` (H, L) of all items so far, `base` (N,) distances
    of generation 0."""
    sids, place = np.unique(np.concatenate([codes, made.codes]), axis=0, return_inverse=True)
    place = place.ravel()
    before = np.bincount(place[: len(codes)], minlength=len(sids))
    after = np.bincount(place, minlength=len(sids))
    own = place[len(codes) :]
    table = items[SHOWN].assign(
        sid=sid_texts(made.codes),
        codes=list(made.codes.astype(np.int32)),
        distance=made.distance,
        distance_percentile=np.searchsorted(np.sort(base), made.distance, side="right") / len(base),
        new_sid=before[own] == 0,
        bucket_before=before[own],
        bucket_after=after[own],
    )
    loads = {"before": Load.of(before), "after": Load.of(after)}
    counts = {
        "n_new_sids": int((before == 0).sum()),
        "n_unknown_category": None if made.unknown is None else int(made.unknown.sum()),
        **Distance.of(made.distance, base)._asdict(),
        **{f"{name}_{when}": value for when, load in loads.items() for name, value in load._asdict().items()},
    }
    return table, counts
