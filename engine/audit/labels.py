"""What a code means, in three or four words: the terms that set its items apart from its siblings'.

Class-based TF-IDF (Grootendorst 2022, BERTopic): a class is a prefix, its documents are its items' titles, and the
classes compared are the children of one parent. A term counts once an item, so that a stuffed title counts no more
than a plain one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from engine.audit.health import Row, health_row
from engine.audit.intervals import mean_interval
from engine.audit.prefixes import Level, crosstab, numbered
from engine.audit.shelf import Shelf

SEPARATOR = " · "
_STOP_WORDS = """
a an and are as at be but by can for from has have if in into is it its new no not of off on only or our out over per
set so such than that the their them then these this to under up use used using via was we were which while will with
without you your best sale offer fast free shipping original genuine quality premium pack pcs pc piece pieces
und mit für der die das von zum zur oder ohne et de la le les des du un une pour avec sans en el los las con para por
del al y
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
SCORED_ITEMS, SCORED_SIBLINGS = 200, 4
"""Items by which labels are scored, and siblings that each label is held against: every label costs an embedding."""
MOST_LABELS, ITEMS_A_LABEL, SIBLINGS_A_LABEL = 20_000, 50, 20
"""Where every code's own label is scored: labels that are embedded, the largest codes first; items of one code, and siblings
of one parent, drawn where there are more."""
_TOKEN = re.compile(r"[^\W_]+(?:(?:[-.'/]|(?<=\d),(?=\d))[^\W_]+)*")
_LONGEST_TITLE = 2_000  # characters read of a title: a megabyte of text is data, but no label needs it


def title_terms(title: str) -> list[str]:
    """The distinct terms of a title: lower-cased words with a letter in them, stop words left out."""
    seen: dict[str, None] = {}
    for token in _TOKEN.findall(title[:_LONGEST_TITLE].lower()):
        if len(token) > 1 and token not in STOP_WORDS and any(c.isalpha() for c in token):
            seen.setdefault(token)
    return list(seen)


def _stem(term: str) -> str:
    """Singular and plural of a word are one term."""
    return term[:-1] if len(term) > 3 and term.endswith("s") and not term.endswith("ss") else term


class TermMatrix:
    """Items by terms: which terms each item's title and category name hold.

    Args:
        titles: (N,) titles.
        category_names: (N,) last part of the category path, or None; the whole name is one term.

    Attributes:
        counts: (N, V) sparse 0/1 matrix.
        terms: (V,) object array, each in its commonest written form.
    """

    def __init__(self, titles: pd.Series, category_names: pd.Series | None = None) -> None:
        written: dict[str, int] = {}
        item, column = [], []
        names = [None] * len(titles) if category_names is None else category_names.tolist()
        for position, (title, name) in enumerate(zip(titles.tolist(), names, strict=True)):
            terms = title_terms(title) if isinstance(title, str) else []
            if isinstance(name, str) and name.strip():
                terms.append(" ".join(name.lower().split()))
            for term in terms:
                item.append(position)
                column.append(written.setdefault(term, len(written)))
        forms = list(written)
        total = np.bincount(np.array(column, dtype=np.int64), minlength=len(forms))
        stems: dict[str, int] = {}
        of_form = np.array([stems.setdefault(_stem(form), len(stems)) for form in forms], dtype=np.int64)
        best = np.lexsort((np.arange(len(forms)), -total, of_form)) if forms else np.empty(0, dtype=np.int64)
        first = np.unique(of_form[best], return_index=True)[1]
        self.terms = np.array(forms, dtype=object)[best[first]] if forms else np.empty(0, dtype=object)
        data = crosstab(np.array(item, dtype=np.int64), of_form[column] if column else of_form, len(titles), len(stems))
        data.data[:] = 1
        self.counts = data


def _ranked_terms(
    matrix: TermMatrix, level: Level, min_support: float, candidates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The strongest terms of every prefix: arrays (group, term, weight, support), sorted by group and weight."""
    n_groups, sizes = len(level), level.size
    inside = np.flatnonzero(level.member >= 0)
    group_items = sparse.csr_matrix(
        (np.ones(len(inside), dtype=np.int64), (level.member[inside], inside)), shape=(n_groups, matrix.counts.shape[0])
    )
    by_group = (group_items @ matrix.counts).tocoo()
    group, term, count = by_group.row.astype(np.int64), by_group.col.astype(np.int64), by_group.data.astype(np.float64)

    n_parents = int(level.parent.max(initial=-1)) + 1
    n_terms = len(matrix.terms)
    key = level.parent[group] * max(n_terms, 1) + term
    distinct, inverse = np.unique(key, return_inverse=True)
    in_parent = np.bincount(inverse, weights=count, minlength=len(distinct))[inverse]
    words = np.bincount(group, weights=count, minlength=n_groups)
    siblings = np.bincount(level.parent, minlength=n_parents)
    mean_words = np.bincount(level.parent, weights=words, minlength=n_parents) / np.maximum(siblings, 1)
    parent_items = np.bincount(level.parent, weights=sizes, minlength=n_parents)

    weight = count / words[group] * np.log1p(mean_words[level.parent[group]] / in_parent)
    support = count / sizes[group]
    enough = (count >= np.minimum(2, sizes[group])) & (support >= min_support)
    sets_apart = (siblings[level.parent[group]] == 1) | (support > in_parent / parent_items[level.parent[group]])
    # Terms that pass both bars come first; the others are the fallback of a prefix that has none.
    order = np.lexsort((matrix.terms[term].astype(str), -weight, ~(enough & sets_apart), group))
    group, term, weight, support = group[order], term[order], weight[order], support[order]
    passes = (enough & sets_apart)[order]
    has_passing = np.bincount(group, weights=passes, minlength=n_groups) > 0
    start = np.searchsorted(group, np.arange(n_groups))
    place = np.arange(len(group)) - start[group]
    kept = (place < candidates) & (passes | ~has_passing[group])
    return group[kept], term[kept], weight[kept], support[kept]


def label_prefixes(
    matrix: TermMatrix, level: Level, *, n_terms: int = 4, min_support: float = 0.2
) -> tuple[list[str | None], list[str]]:
    """Label and terms of every prefix of one level.

    Args:
        matrix: the items' terms (N, V).
        level: the prefixes of the level.
        n_terms: most terms of a label.
        min_support: least share of the prefix's items that hold a term (and at least two items, where it has two).

    Returns:
        (labels, terms as JSON), one a prefix: 'trail · waterproof · gtx' (None without any term), and
        [{"term", "weight", "support"}] in the same order. Equal input gives equal labels: ties go to the alphabet.
    """
    groups, terms, weights, supports = _ranked_terms(matrix, level, min_support, candidates=3 * n_terms)
    chosen: list[list[dict[str, str | float]]] = [[] for _ in range(len(level))]
    words: list[set[str]] = [set() for _ in range(len(level))]
    for group, term, weight, support in zip(groups.tolist(), terms, weights, supports, strict=True):
        text = str(matrix.terms[term])
        parts = {_stem(part) for part in text.split()}
        if len(chosen[group]) == n_terms or parts <= words[group]:
            continue
        words[group] |= parts
        chosen[group].append({"term": text, "weight": round(float(weight), 6), "support": round(float(support), 4)})
    labels = [SEPARATOR.join(str(row["term"]) for row in rows) or None for rows in chosen]
    return labels, [json.dumps(rows, ensure_ascii=False) for rows in chosen]


def category_labels(level: Level, category_name: pd.Series, forced: np.ndarray, *, most: int = 3) -> list[str | None]:
    """Labels of level-1 codes that belong to categories: the names of their forced items' categories, largest first.

    None for a code without forced items. More than `most` names end in '+2' (the number left out).
    """
    code, names = numbered(category_name)
    table = crosstab(np.where(forced, level.member, -1), code, len(level), len(names))
    out: list[str | None] = []
    for row in range(len(level)):
        part = slice(table.indptr[row], table.indptr[row + 1])
        order = np.lexsort((table.indices[part], -table.data[part]))
        found = [str(name) for name in names[table.indices[part][order]]]
        more = [f"+{len(found) - most}"] if len(found) > most else []
        out.append(SEPARATOR.join(found[:most] + more) or None)
    return out


def label_score_rows(
    shelf: Shelf,
    labels: Sequence[Sequence[str | None]],
    item_x: np.ndarray,
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    resamples: int = 2_000,
) -> list[Row]:
    """Rows of `health`: label_score of every level, the chance that an item is nearer (cosine) to the label of its own
    prefix than to that of another child of the same parent. An item's title had its part in its prefix's label.

    Args:
        labels: by level, the label of every prefix in the order of `shelf.tree`.
        item_x: (N, D) unit vectors of the titles.
        encode: unit vectors (M, D) of texts by the same encoder.
    """
    rng = np.random.default_rng(0)
    held = np.flatnonzero(np.asarray(shelf.codes)[:, 0] >= 0)
    sampled = np.sort(rng.choice(held, min(SCORED_ITEMS, len(held)), replace=False))
    pairs: list[tuple[int, int, str, str]] = []  # depth, item, own label, another's label
    for depth, (level, named) in enumerate(zip(shelf.tree, labels, strict=True)):
        known = np.array([isinstance(label, str) for label in named], dtype=bool)
        children = pd.Series(np.flatnonzero(known)).groupby(level.parent[known]).indices
        place = np.flatnonzero(known)
        for item in sampled.tolist():
            own = level.member[item]
            others = place[children.get(level.parent[own], np.empty(0, dtype=np.int64))]
            others = others[others != own]
            if known[own] and len(others):
                drawn = rng.choice(others, min(SCORED_SIBLINGS, len(others)), replace=False)
                pairs += [(depth, item, str(named[own]), str(named[other])) for other in drawn]
    texts = sorted({label for _, _, *both in pairs for label in both})
    if not texts:
        return []
    vectors = dict(zip(texts, encode([text.replace(SEPARATOR, " ") for text in texts]), strict=True))
    told = pd.DataFrame(pairs, columns=["depth", "item", "own", "other"])
    near = [float(np.sign(item_x[item] @ (vectors[own] - vectors[other]))) for _, item, own, other in pairs]
    told["won"] = (np.array(near) + 1) / 2
    rows = []
    for depth in sorted({pair[0] for pair in pairs}):
        won = told[told["depth"] == depth].groupby("item")["won"].mean().to_numpy()
        value, low, high, n = mean_interval(won, resamples=resamples)
        rows.append(health_row(depth + 1, "label_score", value, n) | {"low": low, "high": high, "note": "chance: 0.5"})
    return rows


class LabelScores(NamedTuple):
    """How well each prefix's label finds its own items; NaN and 0 where that was not asked."""

    score: np.ndarray  # (G,) mean chance that an item is nearer to its own prefix's label than to a sibling's.
    n_items: np.ndarray  # (G,) items it rests on.


def label_scores(
    shelf: Shelf,
    labels: Sequence[Sequence[str | None]],
    item_x: np.ndarray,
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    most: int = MOST_LABELS,
) -> list[LabelScores]:
    """By level, the label score of every prefix; arguments as in `label_score_rows`.

    A prefix without a label, or whose siblings have none, has no score; nor have the smallest beyond `most` labels.
    """
    rng = np.random.default_rng(0)
    size = np.concatenate([level.size for level in shelf.tree])
    depth = np.repeat(np.arange(len(shelf.tree)), [len(level) for level in shelf.tree])
    named = np.array([isinstance(label, str) for own in labels for label in own], dtype=bool)
    asked = np.flatnonzero(named)
    asked = np.sort(asked[np.argsort(-size[asked], kind="stable")][:most])
    flat = [label for own in labels for label in own]
    texts = sorted({str(flat[place]) for place in asked})
    vectors = encode([text.replace(SEPARATOR, " ") for text in texts]) if texts else np.empty((0, item_x.shape[1]))
    vector_of = {text: place for place, text in enumerate(texts)}
    made = []
    start = 0
    for at, level in enumerate(shelf.tree):
        own = asked[depth[asked] == at] - start
        start += len(level)
        made.append(_scored(level, own, vectors[[vector_of[str(labels[at][g])] for g in own]], item_x, rng))
    return made


def _scored(
    level: Level, asked: np.ndarray, label_x: np.ndarray, item_x: np.ndarray, rng: np.random.Generator
) -> LabelScores:
    """`label_x` (A, D): the vectors of the labels of the prefixes `asked` (A,)."""
    score, n_items = np.full(len(level), np.nan), np.zeros(len(level), dtype=np.int64)
    inside = np.flatnonzero(level.member >= 0)
    held = pd.Series(inside).groupby(level.member[inside]).indices
    for family in pd.Series(np.arange(len(asked))).groupby(level.parent[asked]).indices.values():
        if len(family) < 2:
            continue
        shown = family if len(family) <= SIBLINGS_A_LABEL else np.sort(rng.choice(family, SIBLINGS_A_LABEL, False))
        for place in family:
            items = inside[held[asked[place]]]
            if len(items) > ITEMS_A_LABEL:
                items = np.sort(rng.choice(items, ITEMS_A_LABEL, replace=False))
            others = shown[shown != place]
            ahead = item_x[items] @ (label_x[place] - label_x[others]).T  # (items, others)
            score[asked[place]] = float((np.sign(ahead) + 1).mean() / 2)
            n_items[asked[place]] = len(items)
    return LabelScores(score, n_items)
