"""Item SIDs, the generators that predict them for queries, and how deep the two agree on judged pairs: served, and per
fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import codebook_sizes
from engine.datasets.contract import Catalogue
from engine.encoders.loading import trainable_top
from engine.evaluation.beams import items_under
from engine.generator.beam import Beams, beam_search
from engine.generator.examples import Lessons
from engine.generator.loading import load_decoder, prompts
from engine.generator.training import GeneratorFit, train_generator
from engine.generator.trie import SidTrie
from engine.learning.judged import Judged
from engine.problem import Problem
from engine.problem.judgments import judged_pairs
from engine.progress import Progress
from engine.quantizers.controls import path_parts
from engine.quantizers.protocol import Known
from engine.quantizers.sampling import Graded, TrainingSet
from engine.quantizers.taxonomy import roll_up
from engine.quantizers.tokenizer import Texts, load_quantizer, taught_by_queries, train_tokenizer
from engine.relevance.features import cosine
from engine.relevance.prefix import match_pairs
from engine.runs import Run, load_arrays, save_arrays, write_table
from engine.threads import one_thread

MOST_CATEGORIES = 512
"""Level-1 codes at most; further categories are rolled up."""


class Stack(NamedTuple):
    """What one tokenizer made of the catalogue."""

    codes: np.ndarray  # (N, L) int64 SIDs of the items.
    residual_norms: np.ndarray  # (N, L + 1) float32.
    latent: np.ndarray  # (N, d) float32, the items before quantization.
    query_latent: np.ndarray  # (Q, d) float32, the queries beside them.


class Sids(NamedTuple):
    """The stacks of a run: the served one is 0, then one per fold; each is read when it is asked for."""

    folder: Path
    n_stacks: int
    sizes: tuple[int, ...]
    category_codes: pd.DataFrame  # category, code_1, code_name, merged; empty where level 1 is k-means.
    forced: np.ndarray  # (N,) bool: level 1 came from the item's category.

    @property
    def levels(self) -> int:
        """L."""
        return len(self.sizes)

    def stack(self, number: int = 0) -> Stack:
        """What the tokenizer of a stack made."""
        return Stack(**load_arrays(self.folder / f"stack{number}" / "codes.safetensors"))

    def trie(self, number: int = 0) -> SidTrie:
        """The SIDs that exist in a stack."""
        return SidTrie.build(self.stack(number).codes, self.sizes)


class Matches(NamedTuple):
    """Of the judged pairs (J,), from the served stack and (for training rows) from each query's own producer."""

    level: np.ndarray  # int64 deepest agreement 0..L.
    level_fit: np.ndarray
    sharing: np.ndarray  # (J, L) int32 items that share the item's prefix of every level.
    sharing_fit: np.ndarray
    placebo: np.ndarray  # int64 the level where SIDs are shuffled among the items.
    placebo_fit: np.ndarray
    control: np.ndarray  # float64 contrastive cosine of query and item without SIDs.
    control_fit: np.ndarray


def tokenize(run: Run, problem: Problem) -> Sids:
    """Train the quantizer on all supervision, and on each fold's; encode the catalogue."""

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        sizes, category_code, mapping = _first_level(problem.catalogue, run)
        n = len(problem.division.seen)
        for stack in range(n):
            own = folder / f"stack{stack}"
            if (own / "codes.safetensors").is_file():
                continue
            own.mkdir(exist_ok=True)
            if stack > 0 and not taught_by_queries(run.config.quantizer):  # one stack is every fold's
                save_arrays(own / "codes.safetensors", **load_arrays(folder / "stack0" / "codes.safetensors"))
            else:
                _train_stack(run, problem, stack, (sizes, category_code), own, _part(progress, stack, n))
        if run.config.quantizer.kind == "category-path":  # the taxonomy has its own sizes and level 1
            codes = load_arrays(folder / "stack0" / "codes.safetensors")["codes"]
            sizes = load_quantizer(folder / "stack0" / "quantizer").sizes
            category_code, mapping = _by_path(problem.catalogue, codes[:, 0])
        mapping.to_parquet(folder / "category_codes.parquet")
        forced = np.zeros(len(problem.views), dtype=bool) if category_code is None else category_code >= 0
        save_arrays(folder / "forced.safetensors", forced=forced)
        (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")

    folder = run.stage("tokenize", "Learning item SIDs", body)
    sizes = tuple(json.loads((folder / "sizes.json").read_text(encoding="utf-8")))
    mapping = pd.read_parquet(folder / "category_codes.parquet")
    write_table(run.folder / "tables", "category_codes", mapping)
    forced = load_arrays(folder / "forced.safetensors")["forced"]
    return Sids(folder, len(problem.division.seen), sizes, mapping, forced)


def _train_stack(
    run: Run,
    problem: Problem,
    stack: int,
    first_level: tuple[tuple[int, ...], np.ndarray | None],
    own: Path,
    progress: Progress,
) -> None:
    """Train the tokenizer of one stack and write its folder; `first_level`: sizes, and the items' forced codes."""
    sizes, category_code = first_level
    known = Known.of(problem.catalogue.items, category_code, problem.catalogue.settings.category_separator)
    pairs = problem.division.pairs(stack)
    fit = train_tokenizer(
        TrainingSet(problem.views, problem.vectors.queries, *pairs, known, _graded(problem, stack)),
        run.config.quantizer,
        sizes,
        seed=100 * run.config.seed + stack,
        texts=_texts(problem.catalogue, run) if run.config.quantizer.dynamic_steps else None,
        progress=progress,
        checkpoint=own / "checkpoint",
    )
    items = fit.quantizer.encode_items(fit.item_x, known)
    queries = fit.quantizer.encode_queries(fit.query_x)
    fit.quantizer.save(own / "quantizer")
    fit.history.to_parquet(own / "history.parquet")
    made = Stack(items.codes, items.residual_norms, items.latent, queries.latent)
    save_arrays(own / "codes.safetensors", **made._asdict())


def _graded(problem: Problem, stack: int) -> Graded:
    """The judged pairs that may teach a stack."""
    judged = judged_pairs(problem.catalogue)
    rows = problem.division.judged(stack)[judged.query]
    relevant = judged.grade >= problem.catalogue.settings.relevant_grade
    return Graded(judged.query[rows], judged.item[rows], relevant[rows])


def generate(run: Run, problem: Problem, judged: Judged | None, sids: Sids) -> list[Beams]:
    """Train the generator of every stack; its beams (q, K, L) for the judged queries, if there are any."""
    config = run.config.generator
    position = np.zeros(0, dtype=np.int64) if judged is None else judged.position

    @one_thread(config.kind == "compact")  # a language model needs every core
    def body(folder: Path, progress: Progress) -> None:
        texts = problem.catalogue.queries["text"].iloc[position].tolist()
        asked = prompts(config, problem.vectors.queries[position], texts)
        for number in range(sids.n_stacks):
            own = folder / f"stack{number}"
            if (own / "beams.safetensors").is_file():
                (own / "checkpoint").unlink(missing_ok=True)  # killed in between
                continue
            own.mkdir(exist_ok=True)
            stack, trie = sids.stack(number), sids.trie(number)
            fit = _fit_generator(run, problem, sids.sizes, (number, stack), own, _part(progress, number, sids.n_stacks))
            fit.model.save(own / "model", trie.fingerprint)
            fit.history.to_parquet(own / "history.parquet")
            model = load_decoder(config, own / "model", trie)  # as it is served
            found = beam_search(model, asked, trie, width=config.beam_width).beams
            kept = found.log_prob > -np.inf
            assert (trie.find(found.codes[kept]) >= 0).all(), "a constrained beam is no SID of the catalogue"
            save_arrays(own / "beams.safetensors", **found._asdict())
            (own / "checkpoint").unlink(missing_ok=True)

    folder = run.stage("generate", "Learning to predict SIDs from queries", body)
    return [Beams(**load_arrays(folder / f"stack{s}" / "beams.safetensors")) for s in range(sids.n_stacks)]


def _fit_generator(
    run: Run, problem: Problem, sizes: tuple[int, ...], served: tuple[int, Stack], own: Path, progress: Progress
) -> GeneratorFit:
    config, (number, stack) = run.config.generator, served
    seed, checkpoint, catalogue = 100 * run.config.seed + number, own / "checkpoint", problem.catalogue
    vectors = problem.vectors
    lessons = Lessons(vectors.items, stack.codes, vectors.queries, *problem.division.pairs(number), sizes)
    if config.kind == "compact":
        return train_generator(lessons, config, seed=seed, progress=progress, checkpoint=checkpoint)
    from engine.generator.full_training import train_full_generator

    lessons = lessons._replace(items=catalogue.items["title"].tolist(), queries=catalogue.queries["text"].tolist())
    means = code_vectors(stack, sizes)
    return train_full_generator(lessons, means, config, seed=seed, progress=progress, checkpoint=checkpoint)


def code_vectors(stack: Stack, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """L arrays (K_l, d) float32: what each code stands for, whatever made the SIDs: the mean of its items' latents, less
    what the codes above it explain; 0 for an unused code."""
    left = stack.latent.astype(np.float64)
    vectors = []
    for level, size in enumerate(sizes):
        code = stack.codes[:, level]
        total = np.zeros((size, left.shape[1]))
        np.add.at(total, code, left)
        mean = total / np.maximum(np.bincount(code, minlength=size), 1)[:, None]
        left = left - mean[code]
        vectors.append(mean.astype(np.float32))
    return vectors


def match(run: Run, problem: Problem, judged: Judged, sids: Sids, beams: list[Beams]) -> Matches:
    """Agreement of the judged pairs under the served stack and under their query's producer."""

    def body(folder: Path, progress: Progress) -> None:
        producer = problem.division.producer[judged.asked]
        arrays: dict[str, np.ndarray] = {}
        for number, found in enumerate(beams):
            progress(number, len(beams))
            own = sids.stack(number)
            shuffled = np.random.default_rng(run.config.seed).permutation(len(own.codes))
            made = {
                "level": match_pairs(own.codes, found.codes, judged.query, judged.item).level,
                "sharing": items_under(own.codes)[judged.item],
                "placebo": match_pairs(own.codes[shuffled], found.codes, judged.query, judged.item).level,
                "control": cosine(own.query_latent, own.latent, judged.asked, judged.item).astype(np.float64),
            }
            if number == 0:
                arrays = made | {f"{name}_fit": value.copy() for name, value in made.items()}
            mine = producer == number
            for name, value in made.items():
                arrays[f"{name}_fit"][mine] = value[mine]
        save_arrays(folder / "matches.safetensors", **arrays)

    return Matches(**load_arrays(run.stage("match", "Matching prefixes", body) / "matches.safetensors"))


def _first_level(catalogue: Catalogue, run: Run) -> tuple[tuple[int, ...], np.ndarray | None, pd.DataFrame]:
    """Codes per level, the forced level-1 code of every item (None without categories), and the mapping."""
    config = run.config.quantizer
    categories = [c if isinstance(c, str) else None for c in catalogue.items["category"]]
    used = len({c for c in categories if c is not None})
    # Every method gets the sizes that the catalogue's categories ask for: only then do their SIDs compare.
    sizes = config.sizes or codebook_sizes(
        len(categories), min(used, MOST_CATEGORIES), config.levels, config.size_factor
    )
    if used < 2 or not config.category_level:  # one category divides nothing
        empty = pd.DataFrame({"category": [], "code_1": [], "code_name": [], "merged": []})
        kinds = {"category": str, "code_1": int, "code_name": str, "merged": bool}
        return sizes, None, empty.astype(kinds)
    separator = catalogue.settings.category_separator
    mapped = roll_up(categories, max_codes=sizes[0], separator=separator)
    return sizes, mapped.code, mapped.table


def _by_path(catalogue: Catalogue, code: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """The level-1 code (N,) of every item, -1 without a category, and the mapping, where SIDs are category paths."""
    category = catalogue.items["category"].str.strip()
    table = pd.DataFrame({"category": category, "code_1": code}).dropna().drop_duplicates().sort_values("category")
    separator = catalogue.settings.category_separator
    table["code_name"] = [path_parts(path, separator, 2)[0] for path in table["category"]]
    table["merged"] = table["code_1"].duplicated(keep=False)
    return np.where(category.notna(), code, -1), table.reset_index(drop=True)


def _texts(catalogue: Catalogue, run: Run) -> Texts:
    """What dynamic encoding reads: the raw texts, and the encoder whose last layer learns along."""
    top = trainable_top(run.config.encoder.model, max_tokens=run.config.encoder.max_tokens)
    return Texts(catalogue.items["title"].tolist(), catalogue.queries["text"].tolist(), top)


def _part(progress: Progress, stack: int, n: int) -> Progress:
    """Progress of one stack among n, as one bar."""
    return lambda done, total: progress(stack * total + done, n * total)
