"""What every method starts from: embeddings, the division of queries, candidates, dense features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.datasets.contract import Catalogue, normalise_query
from engine.encoders.cache import encode_cached
from engine.encoders.fingerprint import ARITHMETIC, model_fingerprint
from engine.errors import DataError
from engine.progress import Progress
from engine.relevance.features import CategoryClassifier, LexicalIndex, cosine, multimodal
from engine.relevance.folds import Split, split_queries
from engine.relevance.retrieval import retrieve
from engine.runs import Run
from engine.stages.artefacts import image_matrix, load_arrays, save_arrays

PURCHASE_WEIGHT = 3.0
"""A purchase counts as this many clicks in the strength of an interaction."""
SPLITS = np.array(["train", "valid", "test", "log"])


class Vectors(NamedTuple):
    """Frozen embeddings, rows L2-normalised."""

    items: np.ndarray
    """(N, D) float32 of item titles."""
    queries: np.ndarray
    """(Q, D) float32 of query texts."""
    item_images: np.ndarray | None
    """(N, M) float32, NaN rows where absent; None where no item has one."""
    query_images: np.ndarray | None
    """(Q, M) float32 in the same space."""


class Division(NamedTuple):
    """Who may learn from what."""

    split: Split
    pair_query: np.ndarray
    """(P,) int64 supervising interactions: query position ..."""
    pair_item: np.ndarray
    """(P,) ... item position ..."""
    pair_weight: np.ndarray
    """(P,) float32 ... and strength."""
    seen: np.ndarray
    """(S, Q) bool: the queries that stack s learns from; row 0 is the served stack."""

    @property
    def producer(self) -> np.ndarray:
        """(Q,) the stack whose features train the ranker on a query."""
        return self.split.fold if len(self.seen) > 1 else np.zeros(self.seen.shape[1], dtype=np.int64)

    def pairs(self, stack: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The supervising interactions of one stack: (query, item, weight)."""
        rows = self.seen[stack][self.pair_query]
        return self.pair_query[rows], self.pair_item[rows], self.pair_weight[rows]

    def key(self) -> str:
        """Names everything that features of a stack depend on besides the catalogue."""
        import hashlib

        digest = hashlib.sha256()
        for part in (self.pair_query, self.pair_item, self.pair_weight, self.seen):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


class Pairs(NamedTuple):
    """Every scored (query, item): the retrieved candidates and the judged items; sorted by query, then item."""

    query: np.ndarray
    item: np.ndarray
    rank: np.ndarray
    """(P,) int64 first-stage rank, 1-based; 0 where not retrieved."""
    grade: np.ndarray
    """(P,) float64; NaN where not judged."""

    @property
    def judged(self) -> np.ndarray:
        """(P,) bool."""
        return ~np.isnan(self.grade)


class Features(NamedTuple):
    """The dense block of every pair."""

    base: np.ndarray
    """(P, 6) float32: dm, mm_dm, mm_missing, qs, qs_coverage, qs_numbers (no trained part)."""
    category: np.ndarray
    """(P,) float32: ct of the served stack."""
    category_fit: np.ndarray
    """(P,) float32: ct of each query's own producer, for training rows."""

    def dense(self, *, fit: bool = False) -> np.ndarray:
        """(P, 7) in the order of `engine.relevance.features.DENSE`: as served, or as made for training rows."""
        category = self.category_fit if fit else self.category
        return np.column_stack([self.base[:, :3], category, self.base[:, 3:]]).astype(np.float64)


def encode(run: Run, catalogue: Catalogue) -> Vectors:
    """Text embeddings of items and queries (cached by content), image embeddings as given."""
    settings = run.config.encoder

    def body(folder: Path, progress: Progress) -> None:
        texts = [*catalogue.items["title"], *catalogue.queries["text"]]
        x = encode_cached(
            texts,
            model=settings.model,
            max_tokens=settings.max_tokens,
            batch=settings.batch,
            cache=run.workspace / "cache" / "embeddings",
            progress=progress,
        )
        save_arrays(folder / "text.safetensors", items=x[: len(catalogue.items)], queries=x[len(catalogue.items) :])

    folder = run.shared("vectors", "Encoding titles and queries", encoder_key(run), body)
    text = load_arrays(folder / "text.safetensors")
    return Vectors(
        text["items"],
        text["queries"],
        image_matrix(catalogue.items["image_embedding"].tolist()),
        image_matrix(catalogue.queries["image_space_embedding"].tolist()),
    )


def encoder_key(run: Run) -> tuple[object, ...]:
    """Names the encoder's settings, arithmetic and weights, for what is shared between runs."""
    return (*dataclasses.astuple(run.config.encoder), ARITHMETIC, model_fingerprint(run.config.encoder.model))


def divide(run: Run, catalogue: Catalogue) -> Division:
    """Split the judged queries, deal folds, and collect what supervises; cheap, so never stored."""
    queries, judgments = catalogue.queries, catalogue.judgments
    position = pd.Series(np.arange(len(queries)), index=queries["query_id"])
    item_position = pd.Series(np.arange(len(catalogue.items)), index=catalogue.items["item_id"])
    judged = queries["query_id"].isin(judgments["query_id"]).to_numpy()
    if not judged.any():
        raise DataError(
            f"Catalogue '{catalogue.settings.name}' has no judgments, and the ranker learns from nothing else; "
            "add a judgments file (columns query, item_id, grade) and ingest again."
        )
    given = judgments.dropna(subset=["split"]).drop_duplicates("query_id").set_index("query_id")["split"]
    split = split_queries(
        queries["query_id"].tolist(),
        judged,
        queries["query_id"].map(given).tolist(),
        run.config.split,
        seed=run.config.split.seed,
        groups=queries["text"].map(normalise_query).tolist(),
    )
    led_to = interactions(catalogue, run.config.split.until)
    logged = catalogue.interactions["source"].ne("synthetic").any()
    if not logged and split.mode == "holdout":  # no logs: training judgments act as interactions, by fold
        train = set(queries["query_id"][split.split == "train"])
        relevant = judgments[
            judgments["query_id"].isin(train) & (judgments["grade"] >= catalogue.settings.relevant_grade)
        ]
        judged_as = relevant.assign(weight=relevant["grade"])[["query_id", "item_id", "weight"]]
        led_to = pd.concat([judged_as, led_to], ignore_index=True)
    pair_query = position[led_to["query_id"]].to_numpy(dtype=np.int64)
    supervising = np.zeros(len(queries), dtype=bool)
    supervising[pair_query] = True
    seen = split.supervision(supervising)
    ranked_on = split.split == "train" if split.mode == "holdout" else judged
    if not (supervising & ranked_on).any():
        seen = seen[:1]  # the ranker trains on queries that no stack learns from: one stack is honest for all
    return Division(
        split,
        pair_query,
        item_position[led_to["item_id"]].to_numpy(dtype=np.int64),
        led_to["weight"].to_numpy(dtype=np.float32),
        seen,
    )


def require_lessons(catalogue: Catalogue, split: Split) -> None:
    """Raises DataError where the judgments of the queries that rankers train on can teach nothing."""
    by_fold = split.mode == "cross_validation"
    among = "judged" if by_fold else "judged training"
    queries = catalogue.queries["query_id"][split.split == ("test" if by_fold else "train")]
    grades = catalogue.judgments.loc[catalogue.judgments["query_id"].isin(queries), "grade"]
    if len(queries) < (2 if by_fold else 1):
        given = catalogue.judgments["query_id"].nunique()
        raise DataError(
            f"The ranker needs {'two judged queries' if by_fold else 'judged training queries'} or more; catalogue "
            f"'{catalogue.settings.name}' has {given:,} judged {'query' if given == 1 else 'queries'}"
            f"{'' if by_fold else ', none of them of split train'}. Judge more queries, or leave the column split out."
        )
    if grades.nunique() < 2:
        raise DataError(
            f"The ranker needs two grades or more; all {len(grades):,} {among} pairs of catalogue "
            f"'{catalogue.settings.name}' have grade {grades.iloc[0]:g}. Judge items that are not relevant too."
        )


def collect(run: Run, catalogue: Catalogue, vectors: Vectors) -> Pairs:
    """First-stage candidates of every asked query, and the judged pairs."""
    config = run.config.retrieval

    def body(folder: Path, progress: Progress) -> None:
        asked = asked_queries(catalogue)
        found = retrieve(
            vectors.items,
            vectors.queries[asked],
            catalogue.items["title"].tolist(),
            catalogue.queries["text"].iloc[asked].tolist(),
            top=config.top,
            progress=progress,
        )
        judgments = catalogue.judgments
        query = pd.Index(catalogue.queries["query_id"]).get_indexer(judgments["query_id"])
        item = pd.Index(catalogue.items["item_id"]).get_indexer(judgments["item_id"])
        retrieved = pd.DataFrame({"query": asked[found.query], "item": found.item, "rank": found.rank})
        graded = pd.DataFrame({"query": query, "item": item, "grade": judgments["grade"].to_numpy(dtype=np.float64)})
        pairs = retrieved.merge(graded, on=["query", "item"], how="outer").sort_values(["query", "item"])
        save_arrays(
            folder / "pairs.safetensors",
            query=pairs["query"].to_numpy(np.int64),
            item=pairs["item"].to_numpy(np.int64),
            rank=pairs["rank"].fillna(0).to_numpy(np.int64),
            grade=pairs["grade"].to_numpy(np.float64),
        )

    key = (*encoder_key(run), config.top)
    return Pairs(
        **load_arrays(run.shared("pairs", "Retrieving candidates", key, body, after=("vectors",)) / "pairs.safetensors")
    )


def measure(run: Run, catalogue: Catalogue, vectors: Vectors, pairs: Pairs, division: Division) -> Features:
    """dm, mm_dm, qs of every pair; ct from a classifier per stack."""

    def base(folder: Path, progress: Progress) -> None:
        progress(0, 3)
        dm = cosine(vectors.queries, vectors.items, pairs.query, pairs.item)
        progress(1, 3)
        image = multimodal(vectors.query_images, vectors.item_images, pairs.query, pairs.item)
        progress(2, 3)
        index = LexicalIndex(catalogue.items["title"].tolist())
        lexical = index.features(catalogue.queries["text"].tolist(), pairs.query, pairs.item)
        save_arrays(folder / "base.safetensors", base=np.column_stack([dm, image, lexical]).astype(np.float32))

    def category(folder: Path, progress: Progress) -> None:
        names = catalogue.items["category"]
        codes, found = pd.factorize(names.where(names.notna(), None), use_na_sentinel=True)
        item_category = codes.astype(np.int64)
        served = np.zeros(len(pairs.query), dtype=np.float32)
        fit = served.copy()
        for stack in range(len(division.seen)):
            progress(stack, len(division.seen))
            query, item, weight = division.pairs(stack)
            classifier = CategoryClassifier.fit(
                vectors.queries, query, item_category[item], weight, max(len(found), 1), seed=run.config.split.seed
            )
            rows = division.producer[pairs.query] == stack
            made = classifier.agreement(vectors.queries, pairs.query, pairs.item, item_category)
            fit[rows] = made[rows]
            if stack == 0:
                served[:] = made
                save_arrays(folder / "classifier.safetensors", **classifier.arrays(), item_category=item_category)
        save_arrays(folder / "category.safetensors", served=served, fit=fit)

    key = (*encoder_key(run), run.config.retrieval.top)
    dense = run.shared("dense", "Dense features", key, base, after=("vectors", "pairs"))
    ct_key = (*key, run.config.split.seed, division.key())
    ct = run.shared("category", "Category agreement", ct_key, category, after=("vectors", "division", "pairs"))
    agreement = load_arrays(ct / "category.safetensors")
    return Features(load_arrays(dense / "base.safetensors")["base"], agreement["served"], agreement["fit"])


def asked_queries(catalogue: Catalogue) -> np.ndarray:
    """Positions of the queries that somebody asked: synthetic ones train the generator, nobody is shown their ranking."""
    return np.flatnonzero((catalogue.queries["source"] != "synthetic").to_numpy())


def interactions(catalogue: Catalogue, until: str | None) -> pd.DataFrame:
    """query_id, item_id, weight of the pairs with a click or a purchase (or any row, where neither is recorded).

    Rows dated after `until` are left out, and with it those without a date.
    """
    log = catalogue.interactions
    if until is not None:
        log = log[log["date"] < pd.Timestamp(until) + pd.Timedelta(days=1)]
    if log.empty:
        return pd.DataFrame({"query_id": [], "item_id": [], "weight": []})
    if log[["clicks", "purchases"]].isna().all(axis=None):
        strength = pd.Series(1.0, index=log.index)
    else:
        strength = log["clicks"].fillna(0) + PURCHASE_WEIGHT * log["purchases"].fillna(0)
    summed = log.assign(weight=strength).groupby(["query_id", "item_id"], sort=True)["weight"].sum().reset_index()
    return summed[summed["weight"] > 0]
