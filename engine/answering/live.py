"""Live answers of a finished run: beams, ranking and exact contributions of any text; a block of one query.

The one engine module that the dashboard's views may import, lazily: it loads torch.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from engine.answering import evidence
from engine.answering.answer import Answers, Block, answer, stored_block
from engine.answering.edited import Listing, edited, rewritten
from engine.answering.served import Served, ServedSids, load_served
from engine.assigning import generations
from engine.audit.lost import needed_width
from engine.audit.prefixes import sid_texts
from engine.datasets.contract import normalise_query
from engine.encoders.loading import load_encoder
from engine.encoders.protocol import TextEncoder
from engine.errors import DataError, RunError
from engine.generator.tables import beams_table
from engine.generator.trie import SidTrie
from engine.problem.possible import possible
from engine.problem.queries import Queries
from engine.relevance.features import DENSE
from engine.runs import Run, list_runs
from engine.threads import one_thread

P = ParamSpec("P")
R = TypeVar("R")

LIVE_ID = "live"
"""query_id of what is no query of the catalogue."""


class LiveResult(NamedTuple):
    """Tables of the snapshot's columns for one query, and where the time went."""

    beams: pd.DataFrame
    beam_nodes: pd.DataFrame
    free_beams: pd.DataFrame
    scores: pd.DataFrame | None  # None, as contributions, where nothing ranks.
    contributions: pd.DataFrame | None
    """Of the items that a snapshot would explain too: the top ones (`retrieval.explained`), and judged ones."""
    reference: dict[str, Any]
    """Empty where nothing ranks; else score and dense features that contributions are measured from; for a boosted ranker its `signals` too."""
    timings_ms: dict[str, float]  # import (loading once, already spent), encode, beam, score, total (without import).


class LiveBeams(NamedTuple):
    """Beams of one query among the SIDs of every generation of the run."""

    beams: pd.DataFrame
    """Table `beams`, and generation (the first that holds the SID), n_later (items that later generations gave it)."""
    timings_ms: dict[str, float]  # import (loading once, already spent), total (without it).


class Edited(NamedTuple):
    """A pair as it is and as it would be with another listing: one answer of each."""

    sid: str
    new_sid: str
    n_sharing: int  # Other items that hold the new SID.
    before: Answers
    after: Answers
    seconds: float


class Explained(NamedTuple):
    """One pair's exact contributions."""

    score: float
    reference: float
    contributions: dict[str, float]


def _threads_as_trained(method: Callable[Concatenate[LiveRun, P], R]) -> Callable[Concatenate[LiveRun, P], R]:
    """Answer on one thread with the compact generator, on every core with a language model."""

    @functools.wraps(method)
    def answering(self: LiveRun, *args: P.args, **kwargs: P.kwargs) -> R:
        with one_thread(self.served.config.generator.kind == "compact"):
            return method(self, *args, **kwargs)

    return answering


class LiveRun:
    """A finished run with SIDs, loaded for answering."""

    def __init__(self, run: Run) -> None:
        began = time.perf_counter()
        if run.config.method == "none":
            raise RunError(f"Run '{run.run_id}' has no SIDs; name one that has.")
        self.served: Served = load_served(run)
        self.run, self.run_id = run, run.run_id
        catalogue = self.served.problem.catalogue
        self.lacks = possible(catalogue).lacks
        if self.served.sids is None:
            raise RunError(f"Run '{run.run_id}' has no generator. {self.lacks['queries']}")
        self._position = pd.Series(np.arange(len(catalogue.items)), index=catalogue.items["item_id"])
        texts = catalogue.queries["text"].map(normalise_query)
        self._known = dict(zip(texts[::-1], range(len(texts) - 1, -1, -1), strict=True))  # the first of equal texts
        labels = pd.read_parquet(run.folder / "tables" / "codes.parquet", columns=["prefix", "label"])
        self._labels = dict(zip(labels["prefix"], labels["label"], strict=True))
        settings = run.config.encoder
        self._encoder: TextEncoder = load_encoder(settings.model, max_tokens=settings.max_tokens)
        self.load_ms = (time.perf_counter() - began) * 1000

    @classmethod
    def load(cls, workspace: Path, run_id: str) -> LiveRun:
        """Load a finished run. Raises RunError or ModelError."""
        return cls(Run.load(workspace, run_id))

    @_threads_as_trained
    def query(self, text: str, *, width: int | None = None) -> LiveResult:
        """Answer any text; one that the catalogue holds has the rows that a snapshot stores of it. Raises DataError
        when it is empty."""
        began = time.perf_counter()
        block = self._block(text)._replace(width=width)
        encoded = time.perf_counter()
        made = answer(self.served, block)
        assert made.beams is not None
        assert made.beam_nodes is not None
        assert made.free_beams is not None
        timings = {
            "import": self.load_ms,
            "encode": 1000 * (encoded - began),
            **{name: 1000 * seconds for name, seconds in made.seconds.items()},
            "total": 1000 * (time.perf_counter() - began),
        }
        return LiveResult(
            made.beams, made.beam_nodes, made.free_beams, made.scores, made.contributions, _reference(made), timings
        )

    @_threads_as_trained
    def beams(self, text: str, *, width: int) -> LiveBeams:
        """Beams of any text among the SIDs of every generation; without later ones those of `query`. Raises DataError
        when the text is empty."""
        began = time.perf_counter()
        queries, trie = self._block(text).queries, self._sids.generator.trie
        later = generations.later(self.run, trie.levels)
        whole = SidTrie.build(np.concatenate([self._sids.codes, later.codes]), trie.sizes)
        found = self._sids.generator.read(queries.x, queries.texts).search(whole, width=width).beams
        made = beams_table(found, whole, queries.id)
        codes = np.stack(list(made["codes"]))
        held = trie.n_items(codes)
        first = dict(zip(map(tuple, later.codes[::-1].tolist()), later.generation[::-1].tolist(), strict=True))
        generation = [0 if n else first[tuple(c)] for n, c in zip(held, codes.tolist(), strict=True)]
        timings = {"import": self.load_ms, "total": 1000 * (time.perf_counter() - began)}
        return LiveBeams(made.assign(generation=generation, n_later=made["n_items"] - held), timings)

    @_threads_as_trained
    def explain(self, text: str, item_id: str) -> Explained:
        """Contributions of any item of the catalogue, retrieved or not. Raises DataError for an unknown item, RunError where
        nothing ranks."""
        made: Answers = answer(self.served, self._block(text, self._item(item_id)))
        if made.scores is None or made.contributions is None or made.reference_points is None:
            raise RunError(f"Run '{self.run_id}' has no ranker. {self.lacks['judgments']}")
        own = made.contributions[made.contributions["item_id"] == item_id]
        score = made.scores.loc[made.scores["item_id"] == item_id, "score"].iloc[0]
        values = dict(zip(own["feature"], own["value"].tolist(), strict=True))
        return Explained(float(score), float(made.reference_points["score"].iloc[0]), values)

    @_threads_as_trained
    def like_past(self, text: str, item_id: str) -> evidence.LikePast:
        """Behind `memory` of a pair. Raises DataError for an unknown item, RunError where the signal is not served."""
        return evidence.like_past(self.served, self._block(text).queries, self._item(item_id))

    @_threads_as_trained
    def fellows(self, text: str, item_id: str) -> evidence.Fellows:
        """Behind `list`; raises as `like_past`."""
        return evidence.fellows(self.served, self._block(text).queries, self._item(item_id))

    @_threads_as_trained
    def words(self, text: str, item_id: str) -> evidence.Words:
        """Behind `cluster`; raises as `like_past`."""
        return evidence.words(self.served, self._block(text).queries, self._item(item_id))

    @_threads_as_trained
    def edited(self, text: str, item_id: str, title: str, attributes: str | None) -> Edited:
        """A pair before and after its item got another title and attributes (JSON). Raises DataError for an unknown item, RunError
        where nothing ranks or the run cannot encode new titles."""
        began = time.perf_counter()
        item = self._item(item_id)
        block = self._block(text, item)
        then = edited(self.run, self.served, [Listing(item, title, attributes)], self._titles)
        before, after = answer(self.served, block), answer(then, block)
        if before.scores is None:
            raise RunError(f"Run '{self.run_id}' has no ranker. {self.lacks['judgments']}")
        assert then.sids is not None
        sid, new = sid_texts(np.stack([self._sids.codes[item], then.sids.codes[item]]))
        sharing = int((then.sids.codes == then.sids.codes[item]).all(axis=1).sum()) - 1
        return Edited(sid, new, sharing, before, after, time.perf_counter() - began)

    def rewritten(self, pairs: Sequence[tuple[str, str]]) -> Iterator[pd.DataFrame]:
        """What typing errors, another order and stuffed words do to items, a kind a step, as `edited.rewritten`. Raises as
        `edited`."""
        steps = rewritten(self.run, self.served, pairs, self._titles)
        while (made := self._next(steps)) is not None:
            yield made

    @_threads_as_trained
    def _next(self, steps: Iterator[pd.DataFrame]) -> pd.DataFrame | None:
        return next(steps, None)

    @_threads_as_trained
    def width_that_keeps(self, text: str, item_id: str, cap: int = 256) -> int | None:
        """The narrowest beam that holds the item's whole SID, found by real searches; None beyond `cap`."""
        wanted, queries = self._sids.codes[self._item(item_id)], self._block(text).queries
        prompted = self._sids.generator.read(queries.x, queries.texts)

        def kept(width: int) -> bool:
            codes = prompted.search(self._sids.generator.trie, width=width).beams.codes[0]
            return bool((codes == wanted).all(axis=1).any())

        return needed_width(kept, cap=cap)

    def title(self, item_id: str) -> str:
        """The item's title."""
        return str(self.served.problem.catalogue.items["title"].iloc[self._item(item_id)])

    def label(self, prefix: str) -> str:
        """What a prefix contains, in a few terms."""
        return self._labels.get(prefix) or ""

    @property
    def _sids(self) -> ServedSids:
        assert self.served.sids is not None
        return self.served.sids

    def _item(self, item_id: str) -> int:
        if item_id not in self._position.index:
            raise DataError(
                f"Item '{item_id}' is not in the catalogue of run '{self.run_id}' ({len(self._position):,} items)."
            )
        return int(self._position[item_id])

    def _titles(self, titles: Sequence[str]) -> np.ndarray:
        """(M, D) vectors of new titles. Raises as `_encode`."""
        return np.concatenate([self._encode(title) for title in titles])

    def _encode(self, text: str) -> np.ndarray:
        """(1, D). Raises DataError where the catalogue's own vectors are not of the encoder's space."""
        x, given = self._encoder.encode([text]), self.served.problem.catalogue.given_text
        if given and x.shape[1] != given.width:
            raise DataError(
                f"This catalogue brings its own vectors of {given.width} numbers, and encoder.model makes {x.shape[1]}: only "
                "its own queries can be answered. For new ones, train with the encoder that made them (encoder.model)."
            )
        return x

    def _block(self, text: str, item: int | None = None) -> Block:
        """The query that somebody typed, and the item that is asked about."""
        if not text.strip():
            raise DataError("The query is empty; type at least one word.")
        known = self._known.get(normalise_query(text))
        if known is not None:
            block = stored_block(self.served, np.array([known]))
        else:
            none = np.zeros(0, dtype=np.int64)
            position = np.array([-1])
            queries = Queries(np.array([LIVE_ID], dtype=object), position, [text], self._encode(text), None, position)
            block = Block(queries, np.array([""], dtype=object), none, none, none.astype(bool))
        if item is None or item in block.item:
            return block
        return block._replace(
            query=np.append(block.query, 0), item=np.append(block.item, item), judged=np.append(block.judged, False)
        )


def _reference(made: Answers) -> dict[str, Any]:
    """`LiveResult.reference` of a block of one."""
    if made.scores is None or made.reference_points is None:
        return {}
    point = made.reference_points.iloc[0]
    reference: dict[str, Any] = {name: float(point[name]) for name in ("score", *DENSE)}
    return reference | ({"signals": point["signals"].tolist()} if "signals" in made.scores else {})


def newest_run(workspace: Path) -> str:
    """The newest finished run with SIDs that was trained here. Raises RunError when there is none."""
    for info in list_runs(workspace):
        if info.finished and info.method not in ("none", "imported"):
            return info.run_id
    raise RunError(f"No finished run with SIDs in {workspace / 'runs'}: train one with 'python -m engine train'.")
