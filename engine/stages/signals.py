"""SID signals and their dense twins for every pair: as served, out of fold for training rows, and with shuffled SIDs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.config import EXTRA_SIGNALS, SignalsConfig
from engine.datasets.contract import Catalogue, normalise_query
from engine.generator.beam import Beams, Decoder, sequence_log_probs
from engine.generator.trie import SidTrie
from engine.progress import Progress
from engine.quantizers.clustering import title_stacks
from engine.relevance.signals.catalogue import signals, title_words, twins
from engine.relevance.signals.feedback import Past
from engine.relevance.signals.own import OwnItem
from engine.relevance.signals.protocol import Asked, Feedback, Fitted, Shelf, Signal
from engine.runs import Run
from engine.stages.artefacts import load_arrays, save_arrays
from engine.stages.identifiers import Identifiers, Stack, generator_input, load_decoder
from engine.stages.inputs import Division, Pairs, Vectors, encoder_key, interactions
from engine.stages.threads import one_thread


class Columns(NamedTuple):
    """What each column of a block is; three tuples of equal length."""

    name: tuple[str, ...]
    signal: tuple[str, ...]
    level: tuple[int, ...]
    """Prefix level 1..L; 0 for a dense twin."""

    def of(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the columns that belong to the `wanted` signals."""
        return tuple(n for n, s in zip(self.name, self.signal, strict=True) if s in wanted)


class SignalTables(NamedTuple):
    """What the rankers read of SIDs, and of the same ideas without SIDs."""

    served: np.ndarray
    """(P, C') float32, every pair: the signals of `config.signals.served`, in the order of `sid_columns`."""
    sid_columns: Columns
    sid: np.ndarray
    """(J, C) float32, judged pairs: every SID signal, as served ..."""
    sid_fit: np.ndarray
    """... and by each query's own producer, for training rows."""
    placebo: np.ndarray
    """(J, C) where SIDs are shuffled among the items."""
    placebo_fit: np.ndarray
    twin_columns: Columns
    twin: np.ndarray
    """(J, C'') the dense twins."""
    twin_fit: np.ndarray
    reads: tuple[np.ndarray, ...]
    """Proofs for `CrossFitted`: (Q, k) positions of the queries whose feedback a query's columns rest on, -1 pads."""
    seen: np.ndarray
    """(S, Q) bool: the queries whose feedback the signals of each stack were fitted on, where they learn by fold."""
    twin_of: dict[str, str]
    """The dense twin of each SID signal."""


class Own(NamedTuple):
    """Columns `engine.relevance.signals.own.OWN` of every pair."""

    values: np.ndarray
    """(P, 8) float32; each query's own feedback left out, so the same for training and serving."""
    read: np.ndarray
    """(Q, k) int64 proof for `CrossFitted`."""


def stacks_of_titles(run: Run, vectors: Vectors) -> list[np.ndarray]:
    """SID stacks made of titles alone, (N, L) each; once for every run of an encoder."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        made = title_stacks(vectors.items, run.config.signals.stacks, seed=0, progress=progress)
        save_arrays(folder / "stacks.safetensors", **{f"stack{i}": codes for i, codes in enumerate(made)})

    if run.config.signals.stacks == 0:
        return []
    key = (*encoder_key(run), run.config.signals.stacks)
    return load_stacks(run.shared("stacks", "Clustering titles", key, body, after=("vectors",)))


def load_stacks(folder: Path) -> list[np.ndarray]:
    """What `stacks_of_titles` stored."""
    found = load_arrays(folder / "stacks.safetensors")
    return [found[f"stack{i}"] for i in range(len(found))]


def own_item(run: Run, catalogue: Catalogue, vectors: Vectors, division: Division, pairs: Pairs) -> Own:
    """What no SID is needed for: feedback on the very item, its own words; once for every run of a division."""
    settings = run.config.signals

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        shelf, asked = plain_view(run, catalogue, vectors, division, pairs)
        measured = OwnItem().fit(shelf, seed=0).measure(asked, pairs.query, pairs.item)
        assert measured.read is not None
        save_arrays(folder / "own.safetensors", values=measured.values, read=measured.read)

    key = (*encoder_key(run), run.config.retrieval.top, settings.neighbours, *dataclasses.astuple(run.config.split))
    folder = run.shared("own", "What needs no SID", key, body, after=("vectors", "division", "pairs"))
    return Own(**load_arrays(folder / "own.safetensors"))


def plain_view(
    run: Run, catalogue: Catalogue, vectors: Vectors, division: Division, pairs: Pairs
) -> tuple[Shelf, Asked]:
    """The input of signals that read no SID."""
    n_items, n_queries = len(catalogue.items), len(catalogue.queries)
    none = Stack(
        np.zeros((n_items, 0), dtype=np.int64), np.zeros((n_items, 1), dtype=np.float32),
        np.zeros((n_items, 1), dtype=np.float32), np.zeros((n_queries, 1), dtype=np.float32),
    )  # fmt: skip
    feedback = collect_feedback(run, catalogue, vectors, division)
    shelf = shelf_of(vectors.items, title_words(catalogue.items["title"].tolist()), none, [], feedback)
    groups = query_groups(catalogue)
    asked = Asked(
        vectors.queries, catalogue.queries["text"].tolist(), groups,
        listed_candidates(pairs, n_queries, run.config.signals.list_depth), none.query_latent, None,
        np.zeros((n_queries, 0, 0), dtype=np.int64),
        Past(feedback, run.config.signals.neighbours).near(vectors.queries, groups),
    )  # fmt: skip
    return shelf, asked


def signal(
    run: Run,
    catalogue: Catalogue,
    vectors: Vectors,
    division: Division,
    pairs: Pairs,
    identifiers: Identifiers,
    beams: list[Beams],
) -> SignalTables:
    """Measure every signal: all pairs under the served stack, judged pairs under their query's producer too."""
    settings = run.config.signals
    titles = stacks_of_titles(run, vectors)
    feedback = collect_feedback(run, catalogue, vectors, division)
    seen = _trained_on(division, feedback)

    @one_thread(run.config.generator.kind == "compact")
    def body(folder: Path, progress: Progress) -> None:
        judged = np.flatnonzero(pairs.judged)
        query, item = pairs.query[judged], pairs.item[judged]
        words = title_words(catalogue.items["title"].tolist())
        groups, listed = query_groups(catalogue), listed_candidates(pairs, len(catalogue.queries), settings.list_depth)
        texts = catalogue.queries["text"].tolist()
        near = Past(feedback, settings.neighbours).near(vectors.queries, groups)
        prompts = generator_input(run.config.generator, vectors.queries, texts)
        shuffled = np.random.default_rng(run.config.seed).permutation(len(catalogue.items))
        known, dense = measured_signals(settings), measured_twins(settings)
        served: dict[str, np.ndarray] = {}
        fit: dict[str, np.ndarray] = {}
        reads: dict[str, np.ndarray] = {}
        n = len(division.seen)
        jobs = [
            *(("sid", name, made) for name, made in known.items()),
            *(("placebo", name, made) for name, made in known.items()),
            *(("twin", name, made) for name, made in dense.items()),
        ]
        for stack in range(n):
            own = identifiers.stacks[stack]
            trie = identifiers.trie(stack)
            model = load_decoder(run.config.generator, run.stage_folder("generate") / f"stack{stack}" / "model", trie)
            asked = Asked(
                vectors.queries, texts, groups, listed, unit(own.query_latent), log_prob(model, prompts, trie),
                beams[stack].codes, near,
            )  # fmt: skip
            shelf = shelf_of(vectors.items, words, own, titles, feedback)
            placebo = shelf._replace(stacks=[codes[shuffled] for codes in shelf.stacks])
            mine = division.producer[query] == stack
            for step, (kind, name, made) in enumerate(jobs):
                progress(stack * len(jobs) + step, n * len(jobs))
                if stack > 0 and kind == "twin" and made.learns != "fold":
                    continue  # neither stacks nor folds matter to it: what is served is fit to train on
                source = placebo if kind == "placebo" else shelf
                if made.learns == "fold":
                    source = source._replace(feedback=only(feedback, seen[stack]))
                fitted = made.fit(source, seed=100 * run.config.seed + stack)
                key = f"{kind}.{name}"
                if stack == 0:
                    if kind == "sid" and name in settings.served:
                        measured = fitted.measure(asked, pairs.query, pairs.item)
                        served[f"all.{name}"] = measured.values
                        served[key] = measured.values[judged]
                        save_arrays(folder / f"{name}.weights.safetensors", **fitted.arrays())
                    else:
                        measured = fitted.measure(asked, query, item)
                        served[key] = measured.values
                    fit[key] = served[key].copy()
                    if measured.read is not None:  # of neighbours by frozen embeddings: the same under every stack
                        reads[key] = measured.read
                elif mine.any():
                    fit[key][mine] = fitted.measure(asked, query[mine], item[mine]).values
        columns = {
            "sid": _columns(known, identifiers.levels),
            "twin": _columns(dense, identifiers.levels),
        }
        order = [name for name in known if name in settings.served]
        none = np.zeros((len(pairs.query), 0), dtype=np.float32)
        save_arrays(
            folder / "signals.safetensors",
            served=np.concatenate([none, *(served[f"all.{name}"] for name in order)], axis=1),
            sid=_side_by_side(served, "sid", known),
            sid_fit=_side_by_side(fit, "sid", known),
            placebo=_side_by_side(served, "placebo", known),
            placebo_fit=_side_by_side(fit, "placebo", known),
            twin=_side_by_side(served, "twin", dense),
            twin_fit=_side_by_side(fit, "twin", dense),
        )
        save_arrays(folder / "reads.safetensors", **reads)
        (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")

    folder = run.stage("signals", "Measuring SID signals", body)
    columns = load_columns(folder)
    return SignalTables(
        **load_arrays(folder / "signals.safetensors"),
        sid_columns=columns["sid"],
        twin_columns=columns["twin"],
        reads=tuple(load_arrays(folder / "reads.safetensors").values()),
        seen=seen,
        twin_of={name: made.twin for name, made in measured_signals(settings).items() if made.twin},
    )


def measured_signals(settings: SignalsConfig) -> dict[str, Signal]:
    """The signals that a run measures, by name."""
    left_out = set(EXTRA_SIGNALS) - set(settings.extra)
    return {name: made for name, made in signals(settings).items() if name not in left_out}


def measured_twins(settings: SignalsConfig) -> dict[str, Signal]:
    """Their dense twins by the twins' own names: two signals may share one."""
    known = measured_signals(settings)
    return {made.name: made for name, made in twins(settings).items() if name in known}


def load_columns(folder: Path) -> dict[str, Columns]:
    """What the columns of a finished signals stage are: of kind 'sid' and of kind 'twin'."""
    stored = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    return {kind: Columns(*map(tuple, parts)) for kind, parts in stored.items()}


def load_fitted(run: Run, shelf: Shelf) -> dict[str, Fitted]:
    """The signals that the served ranker reads, ready to measure new queries."""
    folder = run.stage_folder("signals")
    return {
        name: made.fit(shelf, seed=100 * run.config.seed, arrays=load_arrays(folder / f"{name}.weights.safetensors"))
        for name, made in measured_signals(run.config.signals).items()
        if name in run.config.signals.served
    }


def shelf_of(
    item_x: np.ndarray,
    words: tuple[sparse.csr_matrix, Mapping[str, int]],
    own: Stack,
    titles: list[np.ndarray],
    feedback: Feedback,
) -> Shelf:
    """What signals may read of the items under one stack."""
    counts, vocabulary = words
    return Shelf(item_x, counts, vocabulary, [own.codes, *titles], unit(own.latent), feedback)


def collect_feedback(run: Run, catalogue: Catalogue, vectors: Vectors, division: Division) -> Feedback:
    """Grades of training queries and interactions of logged ones: all that signals may ever learn from."""
    train = set(catalogue.queries["query_id"][division.split.split == "train"])
    judgments = catalogue.judgments[catalogue.judgments["query_id"].isin(train)]
    graded = judgments.assign(value=judgments["grade"] / catalogue.settings.max_grade, graded=True)
    log = interactions(catalogue, run.config.split.until).rename(columns={"weight": "value"}).assign(graded=False)
    parts = [part[["query_id", "item_id", "value", "graded"]] for part in (graded, log) if not part.empty]
    given = pd.concat(parts, ignore_index=True) if parts else graded[["query_id", "item_id", "value", "graded"]]
    position = pd.Index(catalogue.queries["query_id"]).get_indexer(given["query_id"])
    gave, row = np.unique(position, return_inverse=True)
    return Feedback(
        query_x=vectors.queries[gave],
        group=query_groups(catalogue)[gave],
        position=gave.astype(np.int64),
        query=row.astype(np.int64),
        item=pd.Index(catalogue.items["item_id"]).get_indexer(given["item_id"]).astype(np.int64),
        value=given["value"].to_numpy(np.float32),
        graded=given["graded"].to_numpy(bool),
    )


def query_groups(catalogue: Catalogue) -> np.ndarray:
    """(Q,) int64: queries that read the same share a number."""
    return pd.factorize(catalogue.queries["text"].map(normalise_query))[0].astype(np.int64)


def listed_candidates(pairs: Pairs, n_queries: int, depth: int) -> np.ndarray:
    """(Q, depth) int64 retrieved items of each query, best first; -1 pads."""
    listed = np.full((n_queries, depth), -1, dtype=np.int64)
    rows = np.flatnonzero((pairs.rank > 0) & (pairs.rank <= depth))
    listed[pairs.query[rows], pairs.rank[rows] - 1] = pairs.item[rows]
    return listed


def only(feedback: Feedback, allowed: np.ndarray) -> Feedback:
    """The feedback of the queries in the mask `allowed` (Q,) over all queries."""
    kept = np.flatnonzero(allowed[feedback.position])
    place = np.full(len(feedback.position), -1, dtype=np.int64)
    place[kept] = np.arange(len(kept))
    rows = np.flatnonzero(place[feedback.query] >= 0)
    return Feedback(
        feedback.query_x[kept], feedback.group[kept], feedback.position[kept], place[feedback.query[rows]],
        feedback.item[rows], feedback.value[rows], feedback.graded[rows],
    )  # fmt: skip


def unit(x: np.ndarray) -> np.ndarray:
    """Rows of length one."""
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _trained_on(division: Division, feedback: Feedback) -> np.ndarray:
    """(S, Q): whose feedback each stack's signals that learn by fold are fitted on: all but the stack's own fold.

    With one stack for all, judged queries train nothing of the kind: their rows would have seen themselves.
    """
    gave = np.zeros(len(division.split.fold), dtype=bool)
    gave[feedback.position] = True
    if len(division.seen) == 1:
        return (gave & (division.split.split == "log"))[None]
    return division.split.supervision(gave)


def log_prob(model: Decoder, prompts: np.ndarray, trie: SidTrie) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """`Asked.log_prob` of a generator and its queries' prompts."""
    return lambda rows, codes: sequence_log_probs(model, prompts, trie, rows, codes)


def _columns(made: Mapping[str, Signal], levels: int) -> Columns:
    found = [(column.name, name, column.level) for name, each in made.items() for column in each.columns(levels)]
    return Columns(*zip(*found, strict=True))


def _side_by_side(values: Mapping[str, np.ndarray], kind: str, names: Mapping[str, Signal]) -> np.ndarray:
    return np.concatenate([values[f"{kind}.{name}"] for name in names], axis=1)
