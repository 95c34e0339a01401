"""Item SIDs, the generator that predicts them for queries, and how deep the two agree: served, and per fold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import GeneratorConfig, codebook_sizes
from engine.datasets.contract import Catalogue
from engine.encoders.loading import trainable_top
from engine.generator.beam import Beams, Decoder, beam_search
from engine.generator.examples import Lessons
from engine.generator.model import load_generator
from engine.generator.tables import beam_nodes_table, beams_table, free_beams_table
from engine.generator.training import GeneratorFit, train_generator
from engine.generator.trie import SidTrie
from engine.progress import Progress
from engine.quantizers.sampling import TrainingSet
from engine.quantizers.taxonomy import roll_up
from engine.quantizers.tokenizer import Texts, train_tokenizer
from engine.relevance.features import cosine
from engine.relevance.prefix import match_pairs
from engine.runs import Run, write_table
from engine.stages.artefacts import load_arrays, save_arrays
from engine.stages.inputs import Division, Pairs, Vectors, asked_queries
from engine.stages.threads import one_thread

MOST_CATEGORIES = 512
"""Level-1 codes at most; further categories are rolled up."""


class Stack(NamedTuple):
    """What one tokenizer made of the catalogue."""

    codes: np.ndarray
    """(N, L) int64 SIDs of the items."""
    residual_norms: np.ndarray
    """(N, L + 1) float32."""
    latent: np.ndarray
    """(N, d) float32, the items before quantization."""
    query_latent: np.ndarray
    """(Q, d) float32, the queries beside them."""


class Identifiers(NamedTuple):
    """The served stack first, then one per fold."""

    stacks: list[Stack]
    sizes: tuple[int, ...]
    category_codes: pd.DataFrame
    """category, code_1, code_name, merged; empty where level 1 is k-means."""
    forced: np.ndarray
    """(N,) bool: level 1 came from the item's category."""

    @property
    def levels(self) -> int:
        """L."""
        return len(self.sizes)

    def trie(self, stack: int = 0) -> SidTrie:
        """The SIDs that exist in a stack."""
        return SidTrie.build(self.stacks[stack].codes, self.sizes)


class Matches(NamedTuple):
    """Per pair, from the served stack and (for training rows) from each query's own producer."""

    level: np.ndarray
    """(P,) int64 deepest agreement 0..L."""
    beam_rank: np.ndarray
    """(P,) int64 1-based; 0 where nothing agrees."""
    level_fit: np.ndarray
    placebo: np.ndarray
    """(P,) the level where SIDs are shuffled among the items."""
    placebo_fit: np.ndarray
    control: np.ndarray
    """(P,) float64 contrastive cosine of query and item without SIDs."""
    control_fit: np.ndarray


def tokenize(run: Run, catalogue: Catalogue, vectors: Vectors, division: Division) -> Identifiers:
    """Train the quantizer on all supervision, and on each fold's; encode the catalogue."""
    config = run.config.quantizer

    @one_thread()
    def body(folder: Path, progress: Progress) -> None:
        sizes, category_code, mapping = _first_level(catalogue, run)
        texts = _texts(catalogue, run) if config.dynamic_steps else None
        n = len(division.seen)
        for stack in range(n):
            own = folder / f"stack{stack}"
            if (own / "codes.safetensors").is_file():
                continue
            if stack > 0 and config.kind != "contrastive":  # no query teaches it anything: one stack is every fold's
                own.mkdir(exist_ok=True)
                save_arrays(own / "codes.safetensors", **load_arrays(folder / "stack0" / "codes.safetensors"))
                continue
            own.mkdir(exist_ok=True)
            fit = train_tokenizer(
                TrainingSet(vectors.items, vectors.queries, *division.pairs(stack), category_code),
                config,
                sizes,
                seed=100 * run.config.seed + stack,
                texts=texts,
                progress=_part(progress, stack, n),
                checkpoint=own / "checkpoint",
            )
            items = fit.quantizer.encode_items(fit.item_x, category_code)
            queries = fit.quantizer.encode_queries(fit.query_x)
            fit.quantizer.save(own / "quantizer")
            fit.history.to_parquet(own / "history.parquet")
            save_arrays(
                own / "codes.safetensors",
                codes=items.codes,
                residual_norms=items.residual_norms,
                latent=items.latent,
                query_latent=queries.latent,
            )
        mapping.to_parquet(folder / "category_codes.parquet")
        forced = np.zeros(len(catalogue.items), dtype=bool) if category_code is None else category_code >= 0
        save_arrays(folder / "forced.safetensors", forced=forced)
        (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")

    folder = run.stage("tokenize", "Learning item SIDs", body)
    stacks = [Stack(**load_arrays(folder / f"stack{s}" / "codes.safetensors")) for s in range(len(division.seen))]
    sizes = tuple(json.loads((folder / "sizes.json").read_text(encoding="utf-8")))
    mapping = pd.read_parquet(folder / "category_codes.parquet")
    write_table(run.folder / "tables", "category_codes", mapping)
    return Identifiers(stacks, sizes, mapping, load_arrays(folder / "forced.safetensors")["forced"])


def generate(
    run: Run, catalogue: Catalogue, vectors: Vectors, division: Division, identifiers: Identifiers
) -> list[Beams]:
    """Train the generator of every stack and search its beams; (Q, K, L) for each, empty where not needed."""
    config = run.config.generator

    @one_thread(config.kind == "compact")  # a language model needs every core
    def body(folder: Path, progress: Progress) -> None:
        n = len(division.seen)
        query_ids = catalogue.queries["query_id"].to_numpy()
        for stack in range(n):
            own = folder / f"stack{stack}"
            if (own / "beams.safetensors").is_file():
                continue
            own.mkdir(exist_ok=True)
            trie = identifiers.trie(stack)
            fit = _fit_generator(
                run, catalogue, vectors, division, identifiers, stack, _part(progress, stack, n), own / "checkpoint"
            )
            fit.model.save(own / "model", trie.fingerprint)
            fit.history.to_parquet(own / "history.parquet")
            prompts = generator_input(config, vectors.queries, catalogue.queries["text"].tolist())
            found = beam_search(fit.model, prompts, trie, width=config.beam_width).beams
            kept = found.log_prob > -np.inf
            assert (trie.find(found.codes[kept]) >= 0).all(), "a constrained beam is no SID of the catalogue"
            if stack == 0:
                beams_table(found, trie, query_ids).to_parquet(folder / "beams.parquet")
                asked = asked_queries(catalogue)
                x, ids = prompts[asked], query_ids[asked]
                nodes = beam_search(fit.model, x, trie, width=config.beam_width, kept_nodes=config.kept_nodes).nodes
                assert nodes is not None
                beam_nodes_table(nodes, trie, ids).to_parquet(folder / "beam_nodes.parquet")
                free = beam_search(fit.model, x, trie, width=config.beam_width, constrained=False).beams
                free_beams_table(free, trie, ids).to_parquet(folder / "free_beams.parquet")
            save_arrays(own / "beams.safetensors", **found._asdict())
            (own / "checkpoint").unlink(missing_ok=True)

    folder = run.stage("generate", "Learning to predict SIDs from queries", body)
    run.offer_tables(folder, "beams", "beam_nodes", "free_beams")
    return [Beams(**load_arrays(folder / f"stack{s}" / "beams.safetensors")) for s in range(len(division.seen))]


def generator_input(config: GeneratorConfig, query_x: np.ndarray, texts: list[str]) -> np.ndarray:
    """What a generator is prompted with, a row a query: embeddings (Q, D), or the texts (Q,) for a language model."""
    return query_x if config.kind == "compact" else np.array(texts, dtype=object)


def load_decoder(config: GeneratorConfig, folder: Path, trie: SidTrie) -> Decoder:
    """The trained generator in `folder`. Raises ModelError where it does not belong to `trie`."""
    if config.kind == "compact":
        return load_generator(folder, trie)
    from engine.generator.full import load_full_generator  # transformers takes seconds to import

    return load_full_generator(folder, trie)


def _fit_generator(
    run: Run,
    catalogue: Catalogue,
    vectors: Vectors,
    division: Division,
    identifiers: Identifiers,
    stack: int,
    progress: Progress,
    checkpoint: Path,
) -> GeneratorFit:
    config, own = run.config.generator, identifiers.stacks[stack]
    seed = 100 * run.config.seed + stack
    lessons = Lessons(vectors.items, own.codes, vectors.queries, *division.pairs(stack), identifiers.sizes)
    if config.kind == "compact":
        return train_generator(lessons, config, seed=seed, progress=progress, checkpoint=checkpoint)
    from engine.generator.full_training import train_full_generator

    lessons = lessons._replace(items=catalogue.items["title"].tolist(), queries=catalogue.queries["text"].tolist())
    means = code_vectors(own, identifiers.sizes)
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


def match(run: Run, division: Division, pairs: Pairs, identifiers: Identifiers, beams: list[Beams]) -> Matches:
    """Agreement of every pair under the served stack and under its query's producer."""

    def body(folder: Path, progress: Progress) -> None:
        rng = np.random.default_rng(run.config.seed)
        shuffled = rng.permutation(len(identifiers.stacks[0].codes))
        arrays: dict[str, np.ndarray] = {}
        for stack, (own, found) in enumerate(zip(identifiers.stacks, beams, strict=True)):
            progress(stack, len(beams))
            rows = division.producer[pairs.query] == stack
            served = match_pairs(own.codes, found.codes, pairs.query, pairs.item)
            placebo = match_pairs(own.codes[shuffled], found.codes, pairs.query, pairs.item)
            control = cosine(_unit(own.query_latent), _unit(own.latent), pairs.query, pairs.item).astype(np.float64)
            if stack == 0:
                arrays = {"level": served.level, "beam_rank": served.beam_rank, "placebo": placebo.level,
                          "control": control}  # fmt: skip
                arrays |= {f"{name}_fit": arrays[name].copy() for name in ("level", "placebo", "control")}
            for name, value in (("level", served.level), ("placebo", placebo.level), ("control", control)):
                arrays[f"{name}_fit"][rows] = value[rows]
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


def _texts(catalogue: Catalogue, run: Run) -> Texts:
    """What dynamic encoding reads: the raw texts, and the encoder whose last layer learns along."""
    top = trainable_top(run.config.encoder.model, max_tokens=run.config.encoder.max_tokens)
    return Texts(catalogue.items["title"].tolist(), catalogue.queries["text"].tolist(), top)


def _part(progress: Progress, stack: int, n: int) -> Progress:
    """Progress of one stack among n, as one bar."""
    return lambda done, total: progress(stack * total + done, n * total)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
