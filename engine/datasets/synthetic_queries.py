"""Queries made from item fields, for catalogues with few or no logs.

Each query is a text that a shopper could type (a category, brand + type, attribute + type, a model number ...), and
leads to items whose fields it was made of. METHOD section 2: they help a generator that has no logs to learn from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from engine.datasets.contract import TABLES, DatasetSettings, normalise_query

MAX_QUERIES = 20_000
QUERIES_PER_ITEM = 2
ITEMS_PER_QUERY = 20
MAX_ITEMS = 100_000
"""Items looked at, drawn evenly, where a catalogue has more: the queries are capped anyway."""
MAX_CHARACTERS = 80
TITLE_CHARACTERS = 300

KINDS = ("category", "brand", "brand_type", "attribute_type", "title_phrase", "brand_model", "model")

_MODEL = re.compile(r"(?<![\w.])(?=[\w./-]*\d)(?=[\w./-]*[^\W\d_])[^\W_][\w./-]{2,30}[^\W_](?![\w])")
_MEASURE = re.compile(r"\d+([.,x/-]\d+)*-?[^\W\d_]{1,8}")
_WORD = re.compile(r"[^\W\d_]{3,}")
_STOP_WORDS = frozenset((
    "and", "for", "the", "with", "from", "per", "not", "all", "set", "pack", "pcs", "new", "mit", "und", "für",
    "avec", "pour", "les", "des", "con", "para",
))  # fmt: skip
_NOT_SEARCHED = re.compile(
    r"packag|pallet|master|country|origin|certif|warranty|dimension|temperature|humidity|tariff|harmoni|code|status"
    r"|date|url|image|ean|gtin|upc|sku"
)
_NOT_PLAIN = re.compile(r"[;:()\[\]{}<>|]")
_EMPTY_VALUES = frozenset(("yes", "no", "none", "other", "not supported", "not available", "unknown", "true", "false"))


class Synthetic(NamedTuple):
    """Rows of the `queries` and `interactions` tables of a catalogue."""

    queries: DataFrame
    interactions: DataFrame


def synthetic_queries(
    items: DataFrame, settings: DatasetSettings, *, seed: int, limit: int | None, taken: frozenset[str] = frozenset()
) -> Synthetic:
    """At most `limit` queries (default: 2 an item, 20,000 in all), each leading to at most 20 items.

    `taken`: normalised texts that must not be made again (judged queries would leak). Equal input, equal output.
    """
    rng = np.random.default_rng(seed)
    limit = min(QUERIES_PER_ITEM * len(items), MAX_QUERIES) if limit is None else limit
    links = _links(_sampled(items, rng), settings)
    links = links[~links["text"].isin(taken) & links["text"].str.len().between(2, MAX_CHARACTERS)]
    texts = _chosen(links, limit, rng)
    links = links.merge(texts[["text", "kind"]], on=["text", "kind"])
    links = links.assign(draw=rng.random(len(links))).sort_values(["kind", "text", "draw"], kind="stable")
    links = links.groupby(["kind", "text"], sort=False, observed=True).head(ITEMS_PER_QUERY)
    links = links.sort_values(["kind", "text", "item"], kind="stable", ignore_index=True)

    query_id = "synthetic:" + links["text"]
    interactions = _table("interactions", len(links), query_id=query_id, item_id=items["item_id"].to_numpy()[links["item"]],
                          clicks=1.0, source="synthetic")  # fmt: skip
    first = links.drop_duplicates("text")
    queries = _table("queries", len(first), query_id=query_id[first.index].to_numpy(), text=first["text"].to_numpy(),
                     frequency=1.0, source="synthetic", kind=first["kind"].astype(str).to_numpy())  # fmt: skip
    return Synthetic(queries, interactions)


def _table(name: str, n_rows: int, **columns: object) -> DataFrame:
    return DataFrame({c: columns.get(c) for c in TABLES[name].names}, index=range(n_rows))


def _sampled(items: DataFrame, rng: np.random.Generator) -> DataFrame:
    """Items by position; a seeded draw of them where there are very many."""
    items = items.reset_index(drop=True)
    if len(items) <= MAX_ITEMS:
        return items
    return items.loc[np.sort(rng.choice(len(items), MAX_ITEMS, replace=False))]


def _links(items: DataFrame, settings: DatasetSettings) -> DataFrame:
    """(text, item, kind), distinct by text and item; a text belongs to the first of `KINDS` that makes it."""
    brand = _normalised(items["brand"])
    title = items["title"].str.slice(0, TITLE_CHARACTERS)
    phrases = _phrases(title, brand)
    paths = items["category"].dropna().str.split(settings.category_separator, regex=False)
    attributes = _attributes(items["attributes"])
    product_type = _normalised(paths.str[-1].reindex(items.index))
    product_type = product_type.fillna(_usual_phrase(phrases).reindex(items.index))
    models = _models(title)

    searched = attributes.join(product_type.rename("type"), on="item").dropna(subset="type")
    # "cable usb cable": the value says the type already, or the type the value.
    repeated = np.array([t in v or v in t for v, t in zip(searched["value"], searched["type"], strict=True)], bool)
    searched = searched[~repeated]
    parts = {
        "category": _normalised(paths.explode()),
        "brand": brand,
        "brand_type": brand + " " + product_type,
        "attribute_type": _shared(Series((searched["value"] + " " + searched["type"]).to_numpy(), searched["item"]), 2),
        "title_phrase": _shared(phrases, 3),
        "brand_model": brand.reindex(models.index) + " " + models,
        "model": models,
    }
    rows = [(text, item, kind) for kind, texts in parts.items() for item, text in texts.dropna().items()]
    links = DataFrame(rows, columns=["text", "item", "kind"]).astype({"text": "str", "item": "int64"})
    links["kind"] = pd.Categorical(links["kind"], KINDS, ordered=True)
    links["kind"] = links.groupby("text")["kind"].transform("min")
    return links.drop_duplicates(["text", "item"], ignore_index=True)


def _normalised(texts: Series) -> Series:
    """Index kept; missing stays missing. Each distinct text is normalised once."""
    spelling = {text: normalise_query(text) or None for text in texts.dropna().unique()}
    return texts.map(spelling).astype("str")


def _shared(texts: Series, least: int) -> Series:
    """Only texts that at least so many items carry."""
    counts = texts.groupby(texts.to_numpy()).transform("size")
    return texts[(counts >= least).to_numpy()]


def _phrases(title: Series, brand: Series) -> Series:
    """Words and pairs of neighbouring words of titles, indexed by item; numbers, short words and brands left out."""
    words = title.str.casefold().map(_WORD.findall).explode().dropna().astype("str")
    branded = brand.reindex(words.index).fillna("").to_numpy()
    keep = np.array([w not in _STOP_WORDS and w not in b for w, b in zip(words, branded, strict=True)], bool)
    words = words[keep]
    follower = words.shift(-1)
    same = np.append(words.index[:-1] == words.index[1:], False) if len(words) else np.empty(0, bool)
    pairs = (words + " " + follower)[same]
    both = pd.concat([pairs, words])
    return both[~DataFrame({"item": both.index, "text": both.to_numpy()}).duplicated().to_numpy()]


def _usual_phrase(phrases: Series) -> Series:
    """Per item its commonest two-word phrase in the catalogue: what stands for its type where it has no category."""
    pairs = phrases[phrases.str.contains(" ", regex=False)]
    pairs = _shared(pairs, 3)
    ranked = DataFrame({"item": pairs.index, "text": pairs.to_numpy()})
    ranked["n"] = ranked.groupby("text")["text"].transform("size")
    ranked = ranked.sort_values(["item", "n", "text"], ascending=[True, False, True], kind="stable")
    return ranked.drop_duplicates("item").set_index("item")["text"].astype("str")


def _models(title: Series) -> Series:
    """Per item its rarest token that mixes letters and digits and is no measure: likely a model number."""
    tokens = _normalised(title.map(_MODEL.findall).explode().dropna())
    tokens = tokens[[_MEASURE.fullmatch(token) is None for token in tokens]]
    ranked = DataFrame({"item": tokens.index, "text": tokens.to_numpy()})
    ranked["n"] = ranked.groupby("text")["text"].transform("size")
    ranked = ranked[ranked["n"] <= ITEMS_PER_QUERY].sort_values(["item", "n", "text"], kind="stable")
    return ranked.drop_duplicates("item").set_index("item")["text"].astype("str")


def _attributes(attributes: Series) -> DataFrame:
    """(item, value): short text values of attributes that people search by."""
    known = attributes.dropna()
    # Attribute names and values recur by the thousand: each is looked at once.
    searched: dict[str, bool] = {}
    readings: dict[str, tuple[str, ...]] = {}
    rows = []
    for item, raw in zip(known.index, known, strict=True):
        for key, value in json.loads(raw).items():
            if key not in searched:
                searched[key] = _NOT_SEARCHED.search(key.casefold()) is None
            if not searched[key]:
                continue
            for text in value if isinstance(value, list) else (value,):
                if isinstance(text, str):
                    if text not in readings:
                        readings[text] = tuple(_texts(text))
                    rows += [(item, part) for part in readings[text]]
    found = DataFrame(rows, columns=["item", "value"])
    return found.assign(value=_normalised(found["value"])).drop_duplicates()


def _texts(value: str) -> Iterable[str]:
    """The searchable parts of an attribute's value: up to three plain words with a letter in them."""
    for text in (part.strip() for part in value.split(",")):
        plain = 3 <= len(text) <= 24 and len(text.split()) <= 3 and _NOT_PLAIN.search(text) is None
        if plain and any(c.isalpha() for c in text) and text.casefold() not in _EMPTY_VALUES:
            yield text


def _chosen(links: DataFrame, limit: int, rng: np.random.Generator) -> DataFrame:
    """(text, kind, n): equal shares of the limit for each kind, what one leaves over for the others.

    Within a kind a weighted draw without replacement, weight sqrt(items): the head prevails, the tail is not left out.
    """
    texts = links.groupby(["kind", "text"], observed=True).size().rename("n").reset_index()
    texts["key"] = rng.random(len(texts)) ** (1 / np.sqrt(texts["n"].to_numpy()))
    texts = texts.sort_values(["kind", "key", "text"], ascending=[True, False, True], kind="stable")
    sizes = texts["kind"].value_counts().reindex(list(KINDS), fill_value=0).sort_values(kind="stable")
    left, picked = limit, []
    for position, (kind, size) in enumerate(sizes.items()):
        share = min(int(size), left // (len(sizes) - position))
        picked.append(texts[texts["kind"] == kind].head(share))
        left -= share
    return pd.concat(picked)
