"""Measures of SIDs that need more than the codes: attributes, the log, labels, and titles written otherwise.

What a run cannot be asked is told as a row without a value whose note says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.audit.attributes import attribute_rows
from engine.audit.coclicks import Clicked, coclick_rows
from engine.audit.health import Row, health_row
from engine.audit.labels import label_score_rows, label_scores
from engine.audit.robustness import KINDS, Placed, flip_rows, rewrite
from engine.audit.shelf import Shelf
from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.problem.division import interactions
from engine.problem.keywords import new_views
from engine.problem.vectors import encode_texts
from engine.quantizers.controls import Control
from engine.quantizers.margins import margins
from engine.quantizers.protocol import Known, Quantizer
from engine.quantizers.tokenizer import load_quantizer, taught_by_queries
from engine.reporting.learned import Learned
from engine.runs import Run
from engine.threads import one_thread


class Probe(NamedTuple):
    """How texts that the catalogue does not hold are encoded and quantized as the run's were."""

    encode: Callable[[Sequence[str]], np.ndarray] | None = None
    """Texts to unit vectors (M, D); None: no encoder is known."""
    quantize: Callable[[np.ndarray, np.ndarray], Placed] | None = None
    """(vectors (M, D), positions of their items (M,)) to codes; None where that cannot be done ..."""
    why_not: str = ""  # ... for this reason.


def probe_of(run: Run, catalogue: Catalogue, learned: Learned) -> Probe:
    """What a trained run can be asked."""
    if catalogue.given_text:
        return Probe(why_not="vectors came with the data, and their encoder is not here")
    folder = run.stage_folder("tokenize") / "stack0" / "quantizer"
    if not folder.is_dir() or isinstance(load_quantizer(folder), Control):
        return Probe(lambda texts: encode_texts(run, texts), why_not="this method's SIDs do not read titles")
    if run.config.quantizer.dynamic_steps and taught_by_queries(run.config.quantizer):
        return Probe(
            lambda texts: encode_texts(run, texts),
            why_not="the encoder's last layer was trained along (quantizer.dynamic_steps) and is not kept",
        )

    @one_thread()
    def quantize(x: np.ndarray, item: np.ndarray) -> Placed:
        quantizer: Quantizer = load_quantizer(folder)
        code = np.where(learned.forced[item], learned.codes[item, 0], -1) if quantizer.forced_level else None
        items = catalogue.items.iloc[item]
        views = new_views(run, items, x)
        made = quantizer.encode_items(views, Known.of(items, code, catalogue.settings.category_separator))
        return Placed(made.codes, margins(quantizer, made))

    return Probe(lambda texts: encode_texts(run, texts), quantize)


def measured_rows(
    shelf: Shelf,
    codes: pd.DataFrame,
    clicked: Clicked,
    config: Config,
    item_x: np.ndarray | None,
    probe: Probe,
) -> list[Row]:
    """Rows of table `health`: attributes, co-clicks, labels, rewritten titles.

    `codes`: that table; `item_x` (N, D): unit vectors of the titles, or None.
    """
    resamples, seed = config.evaluation.resamples, config.seed
    rows = attribute_rows(shelf, resamples=resamples, seed=seed)
    rows = rows or [_absent("attribute_gain", "no attribute is known of enough items and repeats often enough")]
    aligned = coclick_rows(shelf, clicked, resamples=resamples, seed=seed)
    rows += aligned or [_absent("coclick_alignment", "no query of the log has clicks on two items with a SID")]
    return rows + _labels(shelf, codes, item_x, probe, resamples) + _flips(shelf, item_x, probe, resamples)


def later_log(catalogue: Catalogue, until: str | None) -> pd.DataFrame:
    """The interactions that a run has not learnt from: those after the day `until`, or, without one, all of them."""
    log = catalogue.interactions
    if until is not None:
        log = log[log["date"] >= pd.Timestamp(until) + pd.Timedelta(days=1)]
    return log


def clicked_pairs(catalogue: Catalogue, until: str | None) -> Clicked:
    """The clicks of `later_log`."""
    log = later_log(catalogue, until)
    log = log[log["source"] != "synthetic"]
    pairs = interactions(catalogue.with_tables(interactions=log), None)
    note = (
        "of the log that training learnt from: methods that read it are favoured"
        if until is None
        else f"of the log after {until}, which training has not seen"
    )
    item = pd.Index(catalogue.items["item_id"]).get_indexer(pairs["item_id"])
    return Clicked(pd.factorize(pairs["query_id"])[0].astype(np.int64), item.astype(np.int64), note)


def with_label_scores(shelf: Shelf, codes: pd.DataFrame, item_x: np.ndarray | None, probe: Probe) -> pd.DataFrame:
    """The `codes` table with label_score and label_items; unknown where no encoder is."""
    score, n = np.full(len(codes), np.nan), np.zeros(len(codes))
    if probe.encode is not None and item_x is not None:
        made = label_scores(shelf, _labels_by_level(shelf, codes), item_x, probe.encode)
        held = np.flatnonzero(codes["n_items"].to_numpy() > 0)
        score[held] = np.concatenate([own.score for own in made])
        n[held] = np.concatenate([own.n_items for own in made])
    return codes.assign(label_score=score, label_items=pd.array(np.where(n > 0, n, np.nan), dtype="Int64"))


def _labels_by_level(shelf: Shelf, codes: pd.DataFrame) -> list[list[str | None]]:
    known = codes[codes["n_items"] > 0]
    return [known.loc[known["level"] == depth + 1, "label"].tolist() for depth in range(len(shelf.tree))]


def remembering(probe: Probe) -> Probe:
    """The probe, which encodes a text once however often it is asked."""
    if probe.encode is None:
        return probe
    encode, known = probe.encode, dict[str, np.ndarray]()

    def remembered(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in texts])

    return probe._replace(encode=remembered)


def _labels(shelf: Shelf, codes: pd.DataFrame, item_x: np.ndarray | None, probe: Probe, resamples: int) -> list[Row]:
    if probe.encode is None or item_x is None:
        return [_absent("label_score", probe.why_not or "titles were not encoded")]
    made = label_score_rows(shelf, _labels_by_level(shelf, codes), item_x, probe.encode, resamples=resamples)
    return made or [_absent("label_score", "no prefix with a label has a sibling with one")]


def _flips(shelf: Shelf, item_x: np.ndarray | None, probe: Probe, resamples: int) -> list[Row]:
    if probe.encode is None or probe.quantize is None or item_x is None:
        return [_absent(f"flip_rate.{kind}", probe.why_not or "titles were not encoded") for kind in KINDS]
    made = rewrite(shelf)
    after = {kind: probe.quantize(probe.encode(titles), made.item).codes for kind, titles in made.titles.items()}
    return flip_rows(shelf, made, probe.quantize(item_x[made.item], made.item), after, resamples=resamples)


def _absent(metric: str, why: str) -> Row:
    return health_row(None, metric, float("nan"), 0) | {"note": f"not measured: {why}"}
