"""SID signals and their dense twins for the judged pairs: as served, out of fold for training rows, and with shuffled
SIDs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.answering.shelf import ask, shelf_of
from engine.config import Config
from engine.generator.beam import Beams, sequence_log_probs
from engine.generator.loading import load_decoder, prompts
from engine.learning.judged import Judged
from engine.learning.sids import Sids
from engine.problem import Problem
from engine.problem.feedback import collect_feedback, only
from engine.problem.queries import queries_at
from engine.problem.vectors import encoder_key
from engine.progress import Progress
from engine.quantizers.clustering import title_stacks
from engine.relevance.signals.catalogue import columns_of, signals, twins
from engine.relevance.signals.feedback import Feedback, Past
from engine.relevance.signals.own import OwnItem
from engine.relevance.signals.protocol import Asked, Columns, Shelf, Signal
from engine.runs import Run, load_arrays, save_arrays
from engine.threads import one_thread


class Own(NamedTuple):
    """Columns `engine.relevance.signals.own.OWN` of the judged pairs."""

    values: np.ndarray  # (J, 8) float32; each query's own feedback left out, so the same for training and serving.
    read: np.ndarray  # (q, k) int64 proof for `CrossFitted`: judged queries whose feedback was read, -1 pads.


class SignalTables(NamedTuple):
    """What the rankers read of SIDs, and of the same ideas without SIDs, for the judged pairs."""

    sid_columns: Columns
    sid: np.ndarray  # (J, C) float32, every SID signal, as served ...
    sid_fit: np.ndarray  # ... and by each query's own producer, for training rows.
    placebo: np.ndarray  # (J, C) where SIDs are shuffled among the items.
    placebo_fit: np.ndarray
    twin_columns: Columns
    twin: np.ndarray  # (J, C'') the dense twins.
    twin_fit: np.ndarray
    reads: tuple[np.ndarray, ...]
    """Proofs for `CrossFitted`: (q, k) judged queries whose feedback a query's columns rest on, -1 pads."""
    seen: np.ndarray
    """(S, q) bool: the judged queries whose feedback the signals of each stack were fitted on, where they learn by
    fold."""
    twin_of: dict[str, str]  # The dense twin of each SID signal.


def measured_signals(config: Config) -> dict[str, Signal]:
    """The signals that a run measures, by name: the served ones; for the whole ladder, the others too."""
    settings = config.signals
    every = config.ranker.ladder == "full"
    return {name: made for name, made in signals(settings).items() if every or name in settings.served}


def measured_twins(config: Config) -> dict[str, Signal]:
    """Their dense twins by the twins' own names: two signals may share one."""
    known = measured_signals(config)
    return {made.name: made for name, made in twins(config.signals).items() if name in known}


def stacks_of_titles(run: Run, problem: Problem) -> list[np.ndarray]:
    """SID stacks made of titles alone (or of what else SIDs see of items), (N, L) each; once for every run of an encoder."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        made = title_stacks(problem.views, run.config.signals.stacks, seed=0, progress=progress)
        save_arrays(folder / "stacks.safetensors", **{f"stack{i}": codes for i, codes in enumerate(made)})

    if run.config.signals.stacks == 0:
        return []
    key = (*encoder_key(run), run.config.signals.stacks, run.config.quantizer.text)
    folder = run.shared("stacks", "Clustering titles", key, body, after=("vectors", "keywords"))
    return list(load_arrays(folder / "stacks.safetensors").values())


def own_item(run: Run, problem: Problem, judged: Judged) -> Own:
    """What no SID is needed for: feedback on the very item, its own words; once for every run of a division."""
    settings = run.config.signals

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        feedback = collect_feedback(problem, run.config.split.until)
        shelf = shelf_of(problem, feedback)
        queries = queries_at(problem, judged.position)
        near = Past(feedback, settings.neighbours).near(queries.x, queries.group)
        asked = ask(queries, judged.listed[:, : settings.list_depth], near)
        measured = OwnItem().fit(shelf).measure(asked, judged.query, judged.item)
        assert measured.read is not None
        save_arrays(folder / "own.safetensors", values=measured.values, read=_rows(judged, measured.read, problem))

    key = (*encoder_key(run), run.config.retrieval.top, settings.neighbours, *dataclasses.astuple(run.config.split))
    folder = run.shared("own", "What needs no SID", key, body, after=("vectors", "division", "judged"))
    return Own(**load_arrays(folder / "own.safetensors"))


def _rows(judged: Judged, positions: np.ndarray, problem: Problem) -> np.ndarray:
    """`positions` among all queries as rows of the judged ones; -1 for a query that is not judged."""
    row = np.full(len(problem.catalogue.queries) + 1, -1, dtype=np.int64)  # the last one answers for the padding -1
    row[judged.position] = np.arange(len(judged.position))
    return row[positions]


class _Job(NamedTuple):
    """One signal to measure."""

    kind: str  # 'sid', 'placebo' or 'twin'.
    name: str
    made: Signal


class _View(NamedTuple):
    """What signals read under one stack."""

    stack: int
    shelf: Shelf
    placebo: Shelf
    asked: Asked
    mine: np.ndarray  # (J,) bool: pairs whose training rows this stack makes.


class _Measured(NamedTuple):
    """Blocks by '<kind>.<name>' while stacks are gone through."""

    served: dict[str, np.ndarray]
    fit: dict[str, np.ndarray]
    reads: dict[str, np.ndarray]


def signal(run: Run, problem: Problem, judged: Judged, sids: Sids, beams: list[Beams]) -> SignalTables:
    """Measure every signal on the judged pairs: under the served stack, and under each query's producer."""
    titles = stacks_of_titles(run, problem)
    feedback = collect_feedback(problem, run.config.split.until)
    seen = _trained_on(problem, feedback)
    known, dense = measured_signals(run.config), measured_twins(run.config)

    @one_thread(run.config.generator.kind == "compact")
    def body(folder: Path, progress: Progress) -> None:
        jobs = [_Job("sid", name, made) for name, made in known.items()]
        jobs += [_Job("placebo", name, made) for name, made in known.items()]
        jobs += [_Job("twin", name, made) for name, made in dense.items()]
        found = _Measured({}, {}, {})
        for view in _views(run, problem, judged, (sids, titles), beams, feedback):
            fold = only(feedback, seen[view.stack])
            for step, job in enumerate(jobs):
                progress(view.stack * len(jobs) + step, len(beams) * len(jobs))
                _measure(view, job, fold, judged, found)
        reads = {name: _rows(judged, read, problem) for name, read in found.reads.items()}
        save_arrays(folder / "signals.safetensors", **_blocks(found, known, dense))
        save_arrays(folder / "reads.safetensors", **reads)
        columns = {"sid": columns_of(known, sids.levels), "twin": columns_of(dense, sids.levels)}
        (folder / "columns.json").write_text(json.dumps(columns), encoding="utf-8")

    folder = run.stage("signals", "Measuring SID signals", body)
    stored = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
    blocks = load_arrays(folder / "signals.safetensors")
    return SignalTables(
        sid_columns=Columns(*map(tuple, stored["sid"])),
        twin_columns=Columns(*map(tuple, stored["twin"])),
        reads=tuple(load_arrays(folder / "reads.safetensors").values()),
        seen=seen[:, judged.position],
        twin_of={name: made.twin for name, made in known.items() if made.twin},
        **{name: blocks[name] for name in ("sid", "sid_fit", "placebo", "placebo_fit", "twin", "twin_fit")},
    )


def _views(
    run: Run,
    problem: Problem,
    judged: Judged,
    made: tuple[Sids, list[np.ndarray]],
    beams: list[Beams],
    feedback: Feedback,
) -> Iterator[_View]:
    """One stack after the other, so that one is held at a time; `made`: the run's stacks, and those of titles."""
    sids, titles = made
    listed = judged.listed[:, : run.config.signals.list_depth]
    queries = queries_at(problem, judged.position)
    near = Past(feedback, run.config.signals.neighbours).near(queries.x, queries.group)
    producer = problem.division.producer[judged.asked]
    for number, found in enumerate(beams):
        stack, trie = sids.stack(number), sids.trie(number)
        model = load_decoder(run.config.generator, run.stage_folder("generate") / f"stack{number}" / "model", trie)
        shelf = shelf_of(problem, feedback, [stack.codes, *titles], stack.latent)
        log_prob = partial(sequence_log_probs, model, prompts(run.config.generator, queries.x, queries.texts), trie)
        asked = ask(queries, listed, near, log_prob, found.codes, stack.query_latent[judged.position])
        shuffled = np.random.default_rng(run.config.seed).permutation(len(stack.codes))
        placebo = shelf._replace(stacks=[codes[shuffled] for codes in shelf.stacks])
        yield _View(number, shelf, placebo, asked, producer == number)


def _measure(view: _View, job: _Job, fold: Feedback, judged: Judged, found: _Measured) -> None:
    """Measure one signal under one stack, into `found`; `fold`: the feedback that this stack may learn from by fold."""
    if view.stack > 0 and (not view.mine.any() or (job.kind == "twin" and job.made.learns != "fold")):
        return  # neither stacks nor folds matter to such a twin: what is served is fit to train on
    source = view.placebo if job.kind == "placebo" else view.shelf
    if job.made.learns == "fold":
        source = source._replace(feedback=fold)
    fitted = job.made.fit(source)
    key = f"{job.kind}.{job.name}"
    if view.stack > 0:
        found.fit[key][view.mine] = fitted.measure(view.asked, judged.query[view.mine], judged.item[view.mine]).values
        return
    measured = fitted.measure(view.asked, judged.query, judged.item)
    found.served[key] = measured.values
    found.fit[key] = measured.values.copy()
    if measured.read is not None:  # of neighbours by frozen embeddings: the same under every stack
        found.reads[key] = measured.read


def _blocks(found: _Measured, known: Mapping[str, Signal], dense: Mapping[str, Signal]) -> dict[str, np.ndarray]:
    """The blocks of `SignalTables`."""
    made = {}
    for kind, names in (("sid", known), ("placebo", known), ("twin", dense)):
        for suffix, values in (("", found.served), ("_fit", found.fit)):
            made[kind + suffix] = np.concatenate([values[f"{kind}.{name}"] for name in names], axis=1)
    return made


def _trained_on(problem: Problem, feedback: Feedback) -> np.ndarray:
    """(S, Q): whose feedback each stack's signals that learn by fold are fitted on: all but the stack's own fold.

    With one stack for all, judged queries train nothing of the kind: their rows would have seen themselves.
    """
    split, n_stacks = problem.division.split, len(problem.division.seen)
    gave = np.zeros(len(split.fold), dtype=bool)
    gave[feedback.position] = True
    if n_stacks == 1:
        return (gave & (split.split == "log"))[None]
    return split.supervision(gave)
