"""A finished run's signals and some of its queries, as serving would have them: what the benchmarks of signals time."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from engine.answering.served import Served, ServedSids, load_served
from engine.answering.shelf import ask, shelf_of
from engine.generator.beam import sequence_log_probs
from engine.generator.loading import prompts
from engine.learning.sids import Stack
from engine.problem.feedback import collect_feedback
from engine.problem.queries import Queries, queries_at
from engine.relevance.retrieval import Candidates
from engine.relevance.signals.feedback import Past
from engine.relevance.signals.protocol import Asked, Shelf
from engine.runs import Run, load_arrays


class Asking(NamedTuple):
    """Test queries (B) of a run with SIDs."""

    served: Served
    sids: ServedSids
    queries: Queries
    found: Candidates
    """Their retrieved items."""
    shelf: Shelf
    asked: Asked


def test_queries(run: Run, count: int) -> Asking:
    """`count` test queries, drawn with a fixed seed, and all that signals and their dense twins read of them."""
    served = load_served(run)
    assert served.sids is not None, f"{run.run_id} has no SIDs"
    problem, sids, settings = served.problem, served.sids, run.config.signals
    test = np.flatnonzero(problem.division.split.split == "test")
    queries = queries_at(problem, np.random.default_rng(0).permutation(test)[:count])
    found = problem.first.candidates(queries.x, queries.texts)
    listed = np.full((len(queries.id), settings.list_depth), -1, dtype=np.int64)
    best = found.rank <= settings.list_depth
    listed[found.query[best], found.rank[best] - 1] = found.item[best]
    stack = Stack(**load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors"))
    titles = load_arrays(run.shared_folder("stacks") / "stacks.safetensors").values() if settings.stacks else ()
    feedback = collect_feedback(problem, run.config.split.until)
    model, trie = sids.generator.model, sids.generator.trie
    prompt = prompts(run.config.generator, queries.x, queries.texts)
    asked = ask(
        queries, listed, Past(feedback, settings.neighbours).near(queries.x, queries.group),
        partial(sequence_log_probs, model, prompt, trie),
        sids.generator.read(queries.x, queries.texts).search(trie, width=run.config.generator.beam_width).beams.codes,
        stack.query_latent[queries.position],
    )  # fmt: skip
    return Asking(
        served, sids, queries, found, shelf_of(problem, feedback, [stack.codes, *titles], stack.latent), asked
    )
