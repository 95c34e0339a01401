"""The input contract and what becomes of it: files and columns, a dataset's settings, a validated catalogue.

`data/README.md` is the same contract in words. A column's kind decides how its values are read and checked.
"""

from __future__ import annotations

import dataclasses
import difflib
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pandas import DataFrame

from engine.config import is_date
from engine.datasets.vectors import GivenVectors, read_vectors
from engine.errors import DataError, one_line

CONTRACT_VERSION = 2
"""Part of every fingerprint: raise it when equal files come to mean another catalogue."""

MAX_CATEGORY_DEPTH = 12
MAX_ID_CHARACTERS = 1_000
MAX_TEXT_BYTES = 8_000_000
MAX_NUMBER = 1e15
MAX_RANK = 100_000
ROUNDING = 1e-6
"""A log-probability of 0 may come out as slightly more."""
MAX_EMBEDDING = 16_384
LENGTHS = (1e-12, 1e15)
"""A vector of text that is shorter or longer than these has no direction that float32 can tell."""
SPLITS = ("train", "valid", "test")
LANGUAGES = (
    "ar", "ca", "cs", "da", "de", "el", "en", "es", "et", "eu", "fa", "fi", "fr", "ga", "hi", "hu", "hy", "id", "it",
    "lt", "ne", "nl", "no", "pl", "pt", "ro", "ru", "sr", "sv", "ta", "tr", "yi",
)  # fmt: skip
"""ISO 639-1 codes of the languages that have a stemmer."""
IMPLICIT = "implicit"
"""`source` of judgments that were read from the clicks of the search log: they say what is clicked, not what is relevant."""

Kind = Literal[
    "id", "label", "text", "category", "number", "grade", "time", "object", "embedding", "vector", "split",
    "sid", "rank", "score", "log_prob",
]  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column of an input file."""

    name: str
    kind: Kind
    required: bool = False
    also: tuple[str, ...] = ()  # Names that other programs give it, the likeliest first (`reading.names`).


def words(text: str) -> tuple[str, ...]:
    """Many names, written as one text."""
    return tuple(text.split())


_QUERY_NAMES = words(
    "query_text search_term search_terms search_query search_keyword search_phrase user_query "
    "keyword keywords phrase term q search suchbegriff"
)
_QUERY = Column("query", "text", also=_QUERY_NAMES)
_QUERY_ID = Column("query_id", "id", also=("qid", "query_identifier"))
_ITEM_NAMES = words(
    "product_id docid doc_id document_id parent_asin asin object_id "
    "event_attributes.object.object_id object.object_id offer_id entity_id article_id "
    "artikelnummer item_number nid iid sku product_sku handle variant_sku variant_id document doc "
    "item product video_id photo_id goods_id movie_id song_id track_id news_id book_id listing_id "
    "business_id gmap_id"
)
_ITEM_ID = Column("item_id", "id", required=True, also=(*_ITEM_NAMES, "id"))
"""Of a row that speaks of an item: its own `id` is the row's, where it names a product beside it."""

FILES: dict[str, tuple[Column, ...]] = {
    "items": (
        Column("item_id", "id", required=True, also=("id", *_ITEM_NAMES)),
        Column(
            "title",
            "text",
            required=True,
            also=words(
                "name product_name product_title item_title item_name display_name post_title "
                "titel bezeichnung produktname nom"
            ),
        ),
        Column(
            "category",
            "category",
            also=words(
                "category_path category_hierarchy hierarchical_categories category_name "
                "categories product_category product_categories product_type "
                "google_product_category breadcrumbs breadcrumb taxonomy main_category kategorie "
                "type"
            ),
        ),
        Column(
            "seller",
            "label",
            also=words("seller_name merchant merchant_name vendor vendor_name shop shop_name store store_name sold_by"),
        ),
        Column(
            "brand",
            "label",
            also=words("brand_name product_brand brands manufacturer hersteller marke supplier"),
        ),
        Column(
            "price",
            "number",
            also=words(
                "variant_price regular_price current_price final_price list_price price_amount "
                "sale_price unit_price preis"
            ),
        ),
        Column("currency", "label", also=("currency_code", "price_currency")),
        Column(
            "description",
            "text",
            also=words(
                "body_html body product_description long_description item_description "
                "short_description post_content beschreibung"
            ),
        ),
        Column("attributes", "object", also=("product_features",)),
        Column(
            "created_at",
            "time",
            also=words("created date_created created_date creation_date date_first_available published_at date_added"),
        ),
        Column(
            "popularity",
            "number",
            also=words("rating_number rating_count ratings_count review_count reviews_count units_sold sales_count"),
        ),
        Column("image_embedding", "embedding"),
        Column("text_embedding", "vector"),
    ),
    "queries": (
        Column("query_id", "id", required=True, also=("qid", "query_identifier", "id")),
        Column("text", "text", required=True, also=("query", *_QUERY_NAMES)),
        Column("frequency", "number", also=words("freq count searches search_count search_volume volume")),
        Column("kind", "label", also=("query_class", "query_type")),
        Column("image_space_embedding", "embedding"),
        Column("text_embedding", "vector"),
    ),
    "interactions": (
        _QUERY_ID,
        _QUERY,
        _ITEM_ID,
        Column("impressions", "number", also=("impression", "impression_count", "views", "displays", "shown")),
        Column("clicks", "number", also=("click", "click_count", "clicked", "is_click")),
        Column(
            "purchases",
            "number",
            also=words("purchase purchased orders conversions sales transactions bought"),
        ),
        Column(
            "position",
            "number",
            also=words("event_attributes.position.ordinal position.ordinal ordinal rank slot pos"),
        ),
        Column(
            "date",
            "time",
            also=words("timestamp event_time datetime event_date time day ts created_at"),
        ),
        Column("session", "label", also=("session_id", "client_id", "visitor_id", "search_id")),
        Column(
            "event",
            "label",
            also=words("event_type action_name event_name action interaction_type interaction type"),
        ),
    ),
    "judgments": (
        _QUERY_ID,
        _QUERY,
        _ITEM_ID,
        Column(
            "grade",
            "grade",
            required=True,
            also=words(
                "rating relevance relevance_grade relevance_label judgment judgement esci_label label gain rel score"
            ),
        ),
        Column("source", "label", also=("label_source",)),
        Column("rater", "label", also=("annotator", "judge", "assessor", "worker", "rated_by")),
        Column("split", "split", also=("fold", "subset", "partition")),
    ),
}
"""Input files in the order in which they are validated: later ones refer to earlier ones."""

SID_NAMES = (
    "semantic_id", "semantic_ids", "sem_id", "sem_ids", "sids", "item_sid", "item_to_sid", "item2sid", "id2sid", "codes",
    "sid_codes", "semantic_codes", "token_ids", "sid_tokens", "semantic_tokens",
)  # fmt: skip
"""What other systems call a column of whole SIDs; `sid_columns` knows those of one column a level."""

AUDIT_FILES: dict[str, tuple[Column, ...]] = {
    "sids": (
        _ITEM_ID,
        Column("sid", "sid", required=True, also=SID_NAMES),
    ),
    "beams": (
        _QUERY_ID,
        _QUERY,
        Column("rank", "rank", required=True, also=("position", "beam", "beam_rank")),
        Column("sid", "sid", required=True, also=SID_NAMES),
        Column("log_prob", "log_prob", also=("logprob", "log_probability", "score")),
    ),
    "scores": (
        _QUERY_ID,
        _QUERY,
        _ITEM_ID,
        Column("score", "score", required=True, also=("score_with_sid", "relevance", "logit")),
        Column("score_without_sid", "score"),
    ),
}
"""Outputs of another system: part of the contract, but not of a catalogue. A SID may lie in columns `code_1`... instead."""

COLUMNS = FILES | AUDIT_FILES
"""Every file of the contract."""


_TEXT, _REAL, _VECTOR = pa.string(), pa.float64(), pa.list_(pa.float32())
_STORED = {"number": _REAL, "grade": _REAL, "time": pa.timestamp("us"), "embedding": _VECTOR, "vector": _VECTOR}


def _schema(file: str, less: str = "", **more: pa.DataType) -> pa.Schema:
    """A file's columns as they are stored, without those named in `less`."""
    fields = {c.name: _STORED.get(c.kind, _TEXT) for c in FILES[file] if c.name not in less.split()}
    return pa.schema(list((fields | more).items()))


TABLES: dict[str, pa.Schema] = {
    "items": _schema("items"),
    "queries": _schema("queries", source=_TEXT),
    "interactions": _schema("interactions", "query event", source=_TEXT),
    "judgments": _schema("judgments", "query rater", n_raters=pa.int64()),
    "judgments_raw": _schema("judgments", "query"),
}
"""Tables of a stored catalogue, in the order in which the fingerprint reads them."""


def plain_columns(table: str) -> list[str]:
    """The columns of a table that a DataFrame holds: all but the vectors, which are read as arrays."""
    return [field.name for field in TABLES[table] if field.type != _VECTOR]


CLICK_GRADES = pa.schema(
    {"query_id": _TEXT, "item_id": _TEXT, "grade": _REAL, "attractiveness": _REAL, "low": _REAL, "high": _REAL,
     "examined": _REAL, "clicks": _REAL, "purchases": _REAL}
)  # fmt: skip
"""Stored beside the tables where judgments were read from the log: the evidence of each."""

REJECTS = pa.schema({"file": _TEXT, "line": pa.int64(), "rules": _TEXT, "reason": _TEXT, "row": _TEXT})
"""Rejected rows, whole: `row` is JSON of the columns, or the raw text where no columns could be told apart."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """What `dataset.toml` says of a dataset."""

    name: str
    source: str | None = None  # Where the data comes from.
    license: str | None = None
    max_grade: float = 3.0  # Grades run from 0 to this.
    relevant_grade: float = 2.0  # Grades at or above this are relevant.
    category_separator: str = " > "
    derived: tuple[str, ...] = ()  # Item columns that are guesses and must be shown as such.
    simulated: tuple[str, ...] = ()  # Columns or files that are generated.
    oracle_auc: float | None = None  # AUC of the truth under the label noise, where the truth is known.
    currency: str | None = None  # Of every price, where items carry none.
    language: str | None = None  # Of titles and queries, one of `LANGUAGES`; "none": no stems; None: detected.
    grades_after: str | None = None
    """A date (YYYY-MM-DD): interactions after it grade the held-out queries of implicit judgments and supervise nothing."""

    def __post_init__(self) -> None:
        def check(ok: bool, text: str) -> None:
            if not ok:
                raise DataError(f"dataset.toml: {text}")

        check(bool(self.name.strip()), "name is blank; give the dataset a name")
        check(0 < self.max_grade < MAX_NUMBER, f"max_grade = {self.max_grade}; it must be above 0")
        check(
            0 < self.relevant_grade <= self.max_grade,
            f"relevant_grade = {self.relevant_grade}; it must be above 0 and at most max_grade = {self.max_grade}",
        )
        check(bool(self.category_separator), "category_separator is empty; the default is ' > '")
        check(
            self.language in (None, "none", *LANGUAGES),
            f"language = '{self.language}'; allowed: none (words are compared as they are written), {', '.join(LANGUAGES)}",
        )
        check(self.oracle_auc is None or 0 <= self.oracle_auc <= 1, f"oracle_auc = {self.oracle_auc}; allowed: 0 to 1")
        check(is_date(self.grades_after), f'grades_after = {self.grades_after!r}; a date like "2025-05-01"')


class ReadFromLog(NamedTuple):
    """Judgments that a `LogReader` read from a search log."""

    judgments: DataFrame  # In the columns of table `judgments`, source `IMPLICIT`.
    evidence: DataFrame  # What each rests on, in the columns of `CLICK_GRADES`.
    grades_after: str | None  # `DatasetSettings.grades_after`.
    notes: tuple[str, ...]  # For the report: what was read, or what the log lacks.


LogReader = Callable[[DataFrame, DataFrame, DataFrame, DataFrame, DatasetSettings], ReadFromLog]
"""(items, queries, interactions, judgments, settings) -> judgments to add to those given."""


class GivenText(NamedTuple):
    """What is known of vectors of text that came with the data, without reading them. Every item has one."""

    width: int
    queries: int  # Queries that have one; the others are encoded.


@dataclass(frozen=True)
class Catalogue:
    """A validated dataset. Its tables are read when they are first asked for; DataError where a file is damaged.

    Missing values are NaN / None / NaT: test with `isna`.
    """

    fingerprint: str
    settings: DatasetSettings
    n_rejected: int
    folder: Path  # Where it is stored.
    given_text: GivenText | None  # None where no vectors of text came with the data.

    @cached_property
    def items(self) -> DataFrame:
        """One row an item, in the order of the input."""
        return read_frame(self.folder, "items")

    @cached_property
    def queries(self) -> DataFrame:
        """Those of the log first, then judged, then synthetic, or as in the `queries` file."""
        return read_frame(self.folder, "queries")

    @cached_property
    def interactions(self) -> DataFrame:
        """The log, in the order of the input."""
        return read_frame(self.folder, "interactions")

    @cached_property
    def judgments(self) -> DataFrame:
        """One row a (query, item) pair, the mean over its raters."""
        return read_frame(self.folder, "judgments")

    def with_tables(self, **tables: DataFrame) -> Catalogue:
        """The same with other tables in place of those stored."""
        other = dataclasses.replace(self)
        vars(other).update({name: frame for name, frame in vars(self).items() if name in TABLES} | tables)
        return other

    def text_vectors(self) -> GivenVectors:
        """The data's own vectors of titles and query texts; those of items are whole or None."""
        return self._vectors("text_embedding", "text_embedding")

    def image_vectors(self) -> GivenVectors:
        """The data's own vectors of images, and of queries in the images' space."""
        return self._vectors("image_embedding", "image_space_embedding")

    def _vectors(self, items: str, queries: str) -> GivenVectors:
        return GivenVectors(
            read_vectors(self.folder / "items.parquet", items), read_vectors(self.folder / "queries.parquet", queries)
        )


def read_frame(folder: Path, table: str) -> DataFrame:
    """A stored table without its vectors. Raises DataError where its file is damaged."""
    try:
        return pq.read_table(folder / f"{table}.parquet", columns=plain_columns(table)).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise damaged(folder, error) from None


def damaged(folder: Path, error: Exception | str) -> DataError:
    """The error of a catalogue of which a file cannot be read."""
    return DataError(f"catalogue {folder.name} is damaged ({error}); remove {folder} and ingest again")


def normalise_query(text: str) -> str:
    """One spelling for queries that differ only in case, width or white space: the `query_id` of derived queries."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def close_matches(name: str, names: Sequence[str]) -> list[str]:
    """Of `names` those that were probably meant by `name`, the nearest first."""
    return difflib.get_close_matches(name, names, n=3, cutoff=0.6)


def shown(value: object, *, width: int = 60) -> str:
    """A value as reports show it: one line, control characters visible, cut after `width` characters."""
    text = one_line(str(value))
    return f"'{text}'" if len(text) <= width else f"'{text[:width]}…' ({len(text):,} characters)"
