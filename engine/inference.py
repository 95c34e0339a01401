"""Live answers of a finished run: beams, ranking and exact contributions of any query.

The one engine module that the dashboard's views may import, lazily: it loads torch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from engine.audit.lost import needed_width
from engine.datasets.contract import Catalogue, normalise_query
from engine.datasets.ingest import load
from engine.encoders.loading import load_encoder
from engine.encoders.protocol import TextEncoder
from engine.errors import DataError, RunError
from engine.generator.beam import BeamSearch, beam_search
from engine.generator.tables import beam_nodes_table, beams_table, free_beams_table
from engine.generator.trie import SidTrie
from engine.relevance.attribution import Attribution
from engine.relevance.features import DENSE, CategoryClassifier, LexicalIndex, centre, cosine, multimodal
from engine.relevance.prefix import match_pairs
from engine.relevance.retrieval import retrieve
from engine.relevance.signals.catalogue import title_words
from engine.relevance.signals.own import OwnItem
from engine.relevance.signals.protocol import Asked
from engine.runs import Run, list_runs
from engine.stages import inputs, signals
from engine.stages.artefacts import load_arrays
from engine.stages.identifiers import Stack, generator_input, load_decoder
from engine.stages.inputs import Vectors
from engine.stages.ranking import PLAIN, baseline_ranker, load_scorers, main_ranker
from engine.stages.scoring import (
    Table,
    attribute,
    contributions_table,
    predict,
    reference_points,
    scores_table,
    switched_off,
)
from engine.stages.threads import one_thread

P = ParamSpec("P")
R = TypeVar("R")

LIVE_ID = "live"
"""query_id of what was not in the snapshot."""


class LiveResult(NamedTuple):
    """Tables of the snapshot's columns for one query, and where the time went."""

    beams: pd.DataFrame
    beam_nodes: pd.DataFrame
    free_beams: pd.DataFrame
    scores: pd.DataFrame
    contributions: pd.DataFrame
    """Of the ranked items that a snapshot would explain too (`retrieval.explained`)."""
    reference: dict[str, Any]
    """Score and dense features that contributions are measured from; for a boosted ranker its `signals` too."""
    timings_ms: dict[str, float]
    """import (loading once, already spent), encode, beam, score, total (without import)."""


class Explained(NamedTuple):
    """One pair's exact contributions."""

    score: float
    reference: float
    contributions: dict[str, float]


class _Scored(NamedTuple):
    item: np.ndarray
    table: Table
    scores: pd.DataFrame
    reference: np.ndarray
    """(1, F)."""


def _threads_as_trained(method: Callable[Concatenate[LiveRun, P], R]) -> Callable[Concatenate[LiveRun, P], R]:
    """Answer on one thread with the compact generator, on every core with a language model."""

    @functools.wraps(method)
    def answering(self: LiveRun, *args: P.args, **kwargs: P.kwargs) -> R:
        with one_thread(self.config.generator.kind == "compact"):
            return method(self, *args, **kwargs)

    return answering


class LiveRun:
    """A finished run with SIDs, loaded for answering."""

    def __init__(self, run: Run) -> None:
        began = time.perf_counter()
        config = run.config
        if config.method == "none":
            raise RunError(f"Run '{run.run_id}' has no SIDs; name one that has.")
        catalogue = load(run.workspace, run.fingerprint)
        self.run_id, self.config = run.run_id, config
        self.items = catalogue.items
        self._position = pd.Series(np.arange(len(self.items)), index=self.items["item_id"])
        self._titles = self.items["title"].tolist()
        self._encoder: TextEncoder = load_encoder(config.encoder.model, max_tokens=config.encoder.max_tokens)
        self._item_x = load_arrays(run.shared_folder("vectors") / "text.safetensors")["items"]
        self._item_images, query_images = catalogue.image_vectors()
        # Text cannot be embedded into the images' space here: only queries of the data have that vector.
        self._query_image = {} if query_images is None else {
            normalise_query(text): image[None] for text, image in zip(catalogue.queries["text"], query_images, strict=True)
            if not np.isnan(image[0])
        }  # fmt: skip
        classifier = load_arrays(run.shared_folder("category") / "classifier.safetensors")
        self._item_category = classifier.pop("item_category")
        self._classifier = CategoryClassifier.from_arrays(classifier)
        self._lexical = LexicalIndex(self._titles)
        own = Stack(**load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors"))
        self._codes = own.codes
        labels = pd.read_parquet(run.folder / "tables" / "codes.parquet", columns=["prefix", "label"])
        self._labels = dict(zip(labels["prefix"], labels["label"], strict=True))
        sizes = tuple(run.manifest()["sizes"])
        self.trie = SidTrie.build(own.codes, sizes)
        self._generator = load_decoder(config.generator, run.stage_folder("generate") / "stack0" / "model", self.trie)
        scorers = load_scorers(run)
        self._with, self._without = scorers[main_ranker(config)], scorers[baseline_ranker(config)]
        self._boosted = config.ranker.kind == "boosted"
        if self._boosted:
            self._prepare_signals(run, catalogue, own)
        self.load_ms = (time.perf_counter() - began) * 1000

    @classmethod
    def load(cls, workspace: Path, run_id: str) -> LiveRun:
        """Load a finished run. Raises RunError or ModelError."""
        return cls(Run.load(workspace, run_id))

    @_threads_as_trained
    def query(self, text: str, *, width: int | None = None) -> LiveResult:
        """Answer any text. Raises DataError when it is empty."""
        began = time.perf_counter()
        x = self._encode(text)
        encoded = time.perf_counter()
        width = width or self.config.generator.beam_width
        found = self._search(text, x, width, kept_nodes=self.config.generator.kept_nodes)
        free = self._search(text, x, width, constrained=False)
        searched = time.perf_counter()
        scored = self._score(text, x, found.beams.codes)
        top = np.argsort(scored.scores["rank"].to_numpy())[: self.config.retrieval.explained]
        made = self._attribute(scored, top)
        contributions = contributions_table(
            made, np.full(len(top), LIVE_ID, dtype=object), scored.scores["item_id"].to_numpy()[top]
        )
        done = time.perf_counter()
        assert found.nodes is not None
        return LiveResult(
            beams_table(found.beams, self.trie, [LIVE_ID]),
            beam_nodes_table(found.nodes, self.trie, [LIVE_ID]),
            free_beams_table(free.beams, self.trie, [LIVE_ID]),
            scored.scores,
            contributions,
            {
                "score": float(made.reference_score[0]),
                **dict(zip(DENSE, scored.reference[0, : len(DENSE)].tolist(), strict=True)),
                **({"signals": scored.reference[0, len(DENSE) :].tolist()} if self._boosted else {}),
            },
            {
                "import": self.load_ms,
                "encode": (encoded - began) * 1000,
                "beam": (searched - encoded) * 1000,
                "score": (done - searched) * 1000,
                "total": (done - began) * 1000,
            },
        )

    @_threads_as_trained
    def explain(self, text: str, item_id: str) -> Explained:
        """Contributions of any item of the catalogue, retrieved or not. Raises DataError for an unknown item."""
        item = self._item(item_id)
        x = self._encode(text)
        beams = self._search(text, x, self.config.generator.beam_width).beams.codes
        scored = self._score(text, x, beams, extra=item)
        made = self._attribute(scored, np.flatnonzero(scored.item == item)[:1])
        values = dict(zip(made.features, made.values[0].tolist(), strict=True))
        return Explained(float(made.score[0]), float(made.reference_score[0]), values)

    @_threads_as_trained
    def width_that_keeps(self, text: str, item_id: str, cap: int = 256) -> int | None:
        """The narrowest beam that holds the item's whole SID, found by real searches; None beyond `cap`."""
        wanted = self._codes[self._item(item_id)]
        x = self._encode(text)

        def kept(width: int) -> bool:
            codes = self._search(text, x, width).beams.codes[0]
            return bool((codes == wanted).all(axis=1).any())

        return needed_width(kept, cap=cap)

    def title(self, item_id: str) -> str:
        """The item's title."""
        return self._titles[self._item(item_id)]

    def label(self, prefix: str) -> str:
        """What a prefix contains, in a few terms."""
        return self._labels.get(prefix) or ""

    def _item(self, item_id: str) -> int:
        if item_id not in self._position.index:
            raise DataError(
                f"Item '{item_id}' is not in the catalogue of run '{self.run_id}' ({len(self.items):,} items)."
            )
        return int(self._position[item_id])

    def _encode(self, text: str) -> np.ndarray:
        if not text.strip():
            raise DataError("The query is empty; type at least one word.")
        return self._encoder.encode([text])

    def _prepare_signals(self, run: Run, catalogue: Catalogue, own: Stack) -> None:
        """What the SID signals of a boosted ranker read."""
        query_x = load_arrays(run.shared_folder("vectors") / "text.safetensors")["queries"]
        vectors = Vectors(self._item_x, query_x, None, None)
        feedback = signals.collect_feedback(run, catalogue, vectors, inputs.divide(run, catalogue))
        titles = signals.load_stacks(run.shared_folder("stacks")) if run.config.signals.stacks else []
        shelf = signals.shelf_of(self._item_x, title_words(self._titles), own, titles, feedback)
        self._own = OwnItem(run.config.signals.neighbours).fit(shelf, seed=0)
        self._fitted = signals.load_fitted(run, shelf)
        groups = signals.query_groups(catalogue)
        self._group = dict(zip(map(normalise_query, catalogue.queries["text"]), groups.tolist(), strict=True))
        self._signal_columns = signals.load_columns(run.stage_folder("signals"))["sid"]

    def _search(
        self, text: str, x: np.ndarray, width: int, *, kept_nodes: int = 0, constrained: bool = True
    ) -> BeamSearch:
        prompt = generator_input(self.config.generator, x, [text])
        return beam_search(
            self._generator, prompt, self.trie, width=width, kept_nodes=kept_nodes, constrained=constrained
        )

    def _score(self, text: str, x: np.ndarray, beams: np.ndarray, *, extra: int | None = None) -> _Scored:
        found = retrieve(self._item_x, x, self._titles, [text], top=self.config.retrieval.top, lexical=self._lexical)
        item, first = found.item, found.rank
        if extra is not None and extra not in item:
            item, first = np.append(item, extra), np.append(first, 0)
        query = np.zeros(len(item), dtype=np.int64)
        dense = np.column_stack(
            [
                cosine(x, self._item_x[item], query, np.arange(len(item))),
                multimodal(self._query_image.get(normalise_query(text)), self._item_images, query, item),
                self._classifier.agreement(x, query, item, self._item_category),
                self._lexical.features([text], query, item),
            ]
        ).astype(np.float64)
        match = match_pairs(self._codes, beams, query, item)
        table = Table(DENSE, dense, match.level)
        if self._boosted:
            table = self._with_signals(table, text, x, beams, query, item, first)
        retrieved = first > 0
        reference = reference_points(table.values[retrieved], query[retrieved], 1, table.columns)
        score, without = predict(self._with, table), predict(self._without, table)
        scores = scores_table(
            query_ids=np.array([LIVE_ID]),
            item_ids=self.items["item_id"].to_numpy(),
            query=query,
            item=item,
            first_stage=first,
            judged=np.zeros(len(item), dtype=bool),
            dense=dense,
            match_level=match.level,
            beam_rank=match.beam_rank,
            codes=self._codes,
            score=score,
            score_without=without,
            score_off=predict(self._with, switched_off(table, reference[query])),
            expected=self._with.expected_grade(score),
            expected_without=self._without.expected_grade(without),
        )
        if self._boosted:
            scores["signals"] = list(table.values[:, len(DENSE) :])
        return _Scored(item, table, scores, reference)

    def _with_signals(
        self,
        table: Table,
        text: str,
        x: np.ndarray,
        beams: np.ndarray,
        query: np.ndarray,
        item: np.ndarray,
        first: np.ndarray,
    ) -> Table:
        """The table with list-centred features and SID signals, as a run stores them."""
        listed = np.full((1, self.config.signals.list_depth), -1, dtype=np.int64)
        best = item[(first > 0) & (first <= listed.shape[1])]
        listed[0, : len(best)] = best
        group = np.array([self._group.get(normalise_query(text), -1)])
        prompts = generator_input(self.config.generator, x, [text])
        asked = Asked(
            x, [text], group, listed, np.zeros((1, 1), dtype=np.float32),
            signals.log_prob(self._generator, prompts, self.trie), beams,
        )  # fmt: skip
        made = [fitted.measure(asked, query, item).values for fitted in (self._own, *self._fitted.values())]
        served = self._signal_columns.of(tuple(self._fitted))
        centred = centre(table.values, query, first > 0, 1)
        values = [part.astype(np.float32) for part in (table.values, centred, *made)]
        return Table((*PLAIN, *served), np.concatenate(values, axis=1), table.level)

    def _attribute(self, scored: _Scored, rows: np.ndarray) -> Attribution:
        reference = np.broadcast_to(scored.reference, (len(rows), scored.reference.shape[1]))
        columns = self._signal_columns if self._boosted else None
        return attribute(self._with, scored.table.take(rows), reference, columns)


def newest_run(workspace: Path) -> str:
    """The newest finished run with SIDs that was trained here. Raises RunError when there is none."""
    for info in list_runs(workspace):
        if info.finished and info.method not in ("none", "imported"):
            return info.run_id
    raise RunError(f"No finished run with SIDs in {workspace / 'runs'}: train one with 'python -m engine train'.")
