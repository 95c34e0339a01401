"""Which pairs of a catalogue are judged, what is shown of them, and what people said of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.config import EncoderConfig
from engine.datasets.contract import SPLITS, Catalogue, normalise_query
from engine.errors import ConfigError, DataError
from engine.labeling.prompt import Shown
from engine.progress import Progress, silent

LLM = "llm"
"""`source` of judgments made here; everything else counts as a reference."""
QUERY_SOURCES = ("log", "judged", "synthetic")
_QUERY_NAMES, _ITEM_NAMES = ("query_id", "query"), ("item_id", "docid")


class Reserved(NamedTuple):
    """Why pairs may not carry a model's label into training, each (M,) bool; at most one of them holds."""

    judged: np.ndarray  # People judged the pair: their grade stays theirs alone.
    held_out: np.ndarray
    """People judged the query and did not state that it is for training: a model's label must not decide a test."""


class PairTexts:
    """What the judge sees of any pair of a catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._queries = dict(zip(catalogue.queries["query_id"], catalogue.queries["text"], strict=True))
        columns = catalogue.items[["title", "brand", "category", "attributes"]]
        shown = columns.astype(object).where(columns.notna(), None).itertuples(index=False, name=None)
        self._items = dict(zip(catalogue.items["item_id"], shown, strict=True))

    def of(self, query_id: str, item_id: str) -> Shown:
        """The query's text and the item's title, brand, category and attributes."""
        return Shown(self._queries[query_id], *self._items[item_id])


def human_judgments(workspace: Path, catalogue: Catalogue) -> pd.DataFrame:
    """query_id, item_id, grade (mean over raters), source, split: what others than a language model said of pairs.

    Rows keep the order of the input. `split` is the query's, None where it was not stated.
    """
    raw = raw_judgments(workspace, catalogue)
    raw = raw[raw["source"] != LLM]
    split = raw.groupby("query_id")["split"].first()
    pairs = raw.groupby(["query_id", "item_id"], sort=False).agg(grade=("grade", "mean"), source=("source", "first"))
    pairs = pairs.reset_index()
    return pairs.assign(split=pairs["query_id"].map(split))


def raw_judgments(workspace: Path, catalogue: Catalogue) -> pd.DataFrame:
    """Every judgment as it was given: query_id, item_id, grade, source, rater, split."""
    path = workspace / "catalogues" / catalogue.fingerprint / "judgments_raw.parquet"
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); ingest the dataset again") from None


@dataclass(frozen=True)
class Choice:
    """Which pairs to judge, in an order that depends on `seed` alone. Raises ConfigError for what is not allowed."""

    kind: str = "judged"
    """'judged': those that people judged, to measure agreement. 'retrieved': first-stage candidates, for new labels."""
    split: str | None = None  # Of the judged pairs: train, valid or test.
    top: int = 20  # Candidates of a query.
    sources: str = "log,judged"  # Of the queries whose candidates are taken, separated by commas.
    sample: int | None = None
    """Pairs taken: the first of the random order, so that any beginning of the work is a fair sample and a larger sample
    holds the smaller one."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ("judged", "retrieved") or not set(self.queries) <= set(QUERY_SOURCES):
            raise ConfigError(
                f"--pairs '{self.kind}' --queries '{self.sources}'; allowed: judged or retrieved, of {', '.join(QUERY_SOURCES)}"
            )
        if self.split not in (None, *SPLITS):
            raise ConfigError(f"--split '{self.split}'; allowed: {', '.join(SPLITS)}")

    @property
    def queries(self) -> tuple[str, ...]:
        """The sources, one by one."""
        return tuple(part.strip() for part in self.sources.split(",") if part.strip())


def choose_pairs(
    choice: Choice, workspace: Path, catalogue: Catalogue, judgments: pd.DataFrame, progress: Progress = silent
) -> pd.DataFrame:
    """query_id, item_id of the pairs to judge: of the human `judgments`, or retrieved ones less `reserved_pairs`.

    Raises ConfigError where no query is of the sources, or no pair is left.
    """
    if choice.kind == "judged":
        split = choice.split
        pairs = judgments if split is None else judgments[judgments["split"] == split]
        why = f"no human judgments{f' in split {split!r}' if split else ''}; judge retrieved pairs: --pairs retrieved"
    else:
        there = catalogue.queries["source"].value_counts()
        if not set(choice.queries) & set(there.index):
            has = ", ".join(f"{n:,} {source}" for source, n in there.items()) or "none"
            raise ConfigError(f"--queries '{choice.sources}' names no query of the catalogue; by source, it has {has}")
        pairs = retrieved_pairs(workspace, catalogue, top=choice.top, sources=choice.queries, progress=progress)
        reserved = reserved_pairs(pairs, judgments)
        pairs = pairs[~(reserved.judged | reserved.held_out)]
        why = "no retrieved pair whose label could train: people judged all these queries and none is stated as train"
    if pairs.empty:
        raise ConfigError(f"the catalogue has {why}")
    order = np.random.default_rng(choice.seed).permutation(len(pairs))[: choice.sample]
    return pairs[["query_id", "item_id"]].iloc[order].reset_index(drop=True)


def retrieved_pairs(
    workspace: Path,
    catalogue: Catalogue,
    *,
    top: int,
    sources: tuple[str, ...] = QUERY_SOURCES,
    progress: Progress = silent,
) -> pd.DataFrame:
    """query_id, item_id: the first-stage candidates of every query whose source is among `sources`, best first."""
    from engine.encoders.cache import encode_cached
    from engine.encoders.given import text_vectors
    from engine.problem.index import lexical_index
    from engine.relevance.retrieval import FirstStage
    from engine.relevance.vectors import VectorIndex

    queries = catalogue.queries[catalogue.queries["source"].isin(sources)]
    settings, titles = EncoderConfig(), catalogue.items["title"].tolist()
    encode = partial(
        encode_cached, model=settings.model, max_tokens=settings.max_tokens, batch=settings.batch,
        cache=workspace / "cache" / "embeddings", progress=progress,
    )  # fmt: skip
    # All queries are encoded, as training does, so that both use one cache.
    x = text_vectors(titles, catalogue.queries["text"].tolist(), catalogue.text_vectors(), encode)
    query_x = x.queries[catalogue.queries["source"].isin(sources).to_numpy()]
    first_stage = FirstStage(VectorIndex(x.items), lexical_index(catalogue), top=top)
    found = first_stage.candidates(query_x, queries["text"].tolist(), progress=progress)
    return pd.DataFrame(
        {
            "query_id": queries["query_id"].to_numpy()[found.query],
            "item_id": catalogue.items["item_id"].to_numpy()[found.item],
        }
    )


def reserved_pairs(pairs: pd.DataFrame, judgments: pd.DataFrame) -> Reserved:
    """Which `pairs` (query_id, item_id) the human `judgments` (query_id, item_id, split) keep from training labels."""
    known = pd.MultiIndex.from_frame(judgments[["query_id", "item_id"]])
    judged = pd.MultiIndex.from_frame(pairs[["query_id", "item_id"]]).isin(known)
    tested = judgments.loc[judgments["split"] != "train", "query_id"]
    return Reserved(judged, pairs["query_id"].isin(set(tested)).to_numpy() & ~judged)


def individual_ratings(workspace: Path, catalogue: Catalogue) -> pd.DataFrame:
    """query_id, item_id, rater, grade of the catalogue's own judgments whose rater is named, models left out."""
    raw = raw_judgments(workspace, catalogue)
    raw = raw[(raw["source"] != LLM) & raw["rater"].notna()]
    return raw[["query_id", "item_id", "rater", "grade"]].reset_index(drop=True)


def read_ratings(path: Path, catalogue: Catalogue | None = None) -> pd.DataFrame:
    """query_id, item_id, rater, grade of a CSV file of individual ratings.

    Either a row a rating (`rater` and `grade`, the contract's judgments) or a column a rater (`agent_1_rating`,
    `agent_2_rating` ...; `final_rating` is nobody's own). Queries by id or text, items as `item_id` or `docid`. With a
    catalogue, texts become its ids. Raises DataError where the columns are not there.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as CSV: {error}") from None
    query = next((name for name in _QUERY_NAMES if name in table), None)
    item = next((name for name in _ITEM_NAMES if name in table), None)
    columns = [name for name in map(str, table.columns) if name.endswith("_rating") and name != "final_rating"]
    if query is None or item is None or not ({"rater", "grade"} <= set(table) or len(columns) >= 2):
        raise DataError(
            f"{path.name} has columns {', '.join(map(str, table.columns))}; needed are query or query_id, item_id, "
            f"and either rater and grade or a column a rater such as agent_1_rating, agent_2_rating"
        )
    if "rater" in table and "grade" in table:
        long = table.rename(columns={query: "query", item: "item_id"})[["query", "item_id", "rater", "grade"]]
    else:
        long = table[[query, item, *columns]].melt([query, item], columns, "rater", "grade")
        long.columns = ["query", "item_id", "rater", "grade"]
        long["rater"] = long["rater"].str.removesuffix("_rating")
    long = long[(long["grade"].str.strip() != "") & (long["rater"].str.strip() != "")].reset_index(drop=True)
    grade = pd.to_numeric(long["grade"], errors="coerce")
    if grade.isna().any():
        raise DataError(f"{path.name}: '{long['grade'][grade.isna()].iloc[0]}' is no grade; grades are numbers")
    ids = long["query"] if query == "query_id" else long["query"].map(normalise_query)
    if catalogue is not None and query == "query":
        texts = catalogue.queries["text"].map(normalise_query)
        known = catalogue.queries["query_id"].set_axis(texts)[lambda ids: ~ids.index.duplicated()]
        ids = ids.map(known).fillna(ids)
    return long.assign(query_id=ids, grade=grade.astype(np.float64))[["query_id", "item_id", "rater", "grade"]]
