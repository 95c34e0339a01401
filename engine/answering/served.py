"""A run loaded once for answering: nothing of it learns any more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.answering import rows
from engine.answering.shelf import shelf_of
from engine.config import Config
from engine.generator.loading import Generator, load_decoder
from engine.generator.trie import SidTrie
from engine.problem import Problem, posed
from engine.problem.features import dense_features
from engine.problem.feedback import collect_feedback
from engine.problem.judgments import Judgments, judged_pairs
from engine.problem.possible import possible
from engine.relevance.features import CategoryClassifier, DenseFeatures
from engine.relevance.scorer import Scorer
from engine.relevance.signals.catalogue import served_columns, signals
from engine.relevance.signals.feedback import Past
from engine.relevance.signals.own import OwnItem
from engine.relevance.signals.protocol import Columns, Fitted
from engine.relevance.trees import TreeScorer
from engine.runs import Run, load_arrays


class ServedSids(NamedTuple):
    """What a run with SIDs answers with."""

    codes: np.ndarray  # (N, L) int64 SIDs of the items.
    generator: Generator
    signals: Mapping[str, Fitted]  # Those that the served ranker reads, by name; none for an MLP.
    columns: Columns  # Of those signals, in their order.


class Served(NamedTuple):
    """What `answer` reads."""

    run_id: str
    config: Config
    problem: Problem
    item_ids: np.ndarray  # (N,) object.
    judgments: Judgments
    dense: DenseFeatures
    classifier: CategoryClassifier | None  # None where nothing ranks.
    past: Past | None  # Feedback of past queries; None, as `own`, for an MLP.
    own: Fitted | None  # Columns OWN.
    rankers: Mapping[str, Scorer | TreeScorer]
    """The served ranker and its baseline by name; under cross-validation '<name>.cv<k>' too: trained without fold k of
    the first repeat. Empty where nobody judged: queries have beams alone."""
    sids: ServedSids | None  # None for a run without SIDs, or without a generator.


def load_served(run: Run, problem: Problem | None = None) -> Served:
    """Load what a run has learnt. Raises RunError, DataError or ModelError where a part is missing or damaged."""
    problem = posed(run) if problem is None else problem
    can = possible(problem.catalogue)
    classifier = past = own = sids = None
    if can.rank:
        folder = run.shared_folder("judged")
        classifier = CategoryClassifier.from_arrays(load_arrays(folder / "classifier0.safetensors"))
    boosted = can.rank and run.config.ranker.kind == "boosted"
    feedback = collect_feedback(problem, run.config.split.until) if boosted else None
    if feedback is not None:
        past = Past(feedback, run.config.signals.neighbours)
        own = OwnItem().fit(shelf_of(problem, feedback))
    if run.config.method != "none" and can.generate:
        tokens = run.stage_folder("tokenize")
        codes = load_arrays(tokens / "stack0" / "codes.safetensors")["codes"]
        trie = SidTrie.build(codes, json.loads((tokens / "sizes.json").read_text(encoding="utf-8")))
        model = load_decoder(run.config.generator, run.stage_folder("generate") / "stack0" / "model", trie)
        fitted: dict[str, Fitted] = {}
        if feedback is not None:
            shelf = shelf_of(problem, feedback, [codes, *title_stacks_of(run)])
            fitted = {
                name: made.fit(shelf)
                for name, made in signals(run.config.signals).items()
                if name in run.config.signals.served
            }
        sids = ServedSids(
            codes,
            Generator(run.config.generator, model, trie),
            fitted,
            served_columns(run.config.signals, len(trie.sizes)) if boosted else rows.NO_COLUMNS,
        )
    items = problem.catalogue.items["item_id"].to_numpy(dtype=object)
    return Served(
        run.run_id, run.config, problem, items, judged_pairs(problem.catalogue), dense_features(problem), classifier, past, own,
        load_rankers(run) if can.rank else {}, sids,
    )  # fmt: skip


def load_rankers(run: Run) -> dict[str, Scorer | TreeScorer]:
    """The served ranker of a run and its baseline, by name."""
    folder = run.stage_folder("rank")
    columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    found: dict[str, Scorer | TreeScorer] = {}
    for kind, build in (("mlp", Scorer.from_arrays), ("boosted", TreeScorer.from_arrays)):
        for path in sorted(folder.glob(f"*.{kind}.safetensors")):
            name = path.name.removesuffix(f".{kind}.safetensors")
            found[name] = build(load_arrays(path), columns[name.split(".")[0]])
    return found


def weights_table(rankers: Mapping[str, Scorer | TreeScorer]) -> pd.DataFrame:
    """Table `ranker_weights`."""
    made = [
        {"ranker": ranker, "name": name, "shape": list(np.shape(values)), "values": np.ravel(values).tolist()}
        for ranker, scorer in rankers.items()
        for name, values in scorer.arrays().items()
    ]
    return pd.DataFrame(made)


def title_stacks_of(run: Run) -> list[np.ndarray]:
    """SIDs (N, L) of each clustering of titles that signals average over."""
    if run.config.signals.stacks == 0:
        return []
    return list(load_arrays(run.shared_folder("stacks") / "stacks.safetensors").values())
