"""The dashboard's wording: definitions shown as tooltips, number formats, and escaping of catalogue text."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from app.rankers import SIGNAL_NAMES
from engine.audit.severity import LEAST_QUERIES as LEAST_QUERIES
from engine.store.workspace import VARIABLE

TOO_SMALL = "n too small"
UNKNOWN = "unknown"

DEFINITIONS = {
    "auc": "AUC: the chance that a relevant judged pair scores above an irrelevant one, over all judged test pairs. "
    "Relevant = grade at or above the catalogue's threshold. Interval: bootstrap by query, 95 %.",
    "ndcg@10": "nDCG@10: how well the judged items of a query are ordered in its first ten places (1 = ideal), averaged "
    "over test queries. Interval: bootstrap by query, 95 %.",
    "within_query_auc": "Within-query AUC: the same chance, counting only pairs of the same query.",
    "lift": "Lift: the ranker with SIDs minus the strong ranker without SIDs (trained apart: same learner, folds and "
    "seed), on the same queries. Interval and p value: paired bootstrap by query.",
    "seen": "Seen: the query itself was among the interactions used in training, as it would be when served. New: it was "
    "not. A memory of past clicks helps the first kind only.",
    "query_tier": "Query tier: queries by falling frequency, cut into thirds of traffic: head, torso, tail. A query that the log does not "
    "hold has no traffic and belongs to none of them.",
    "category_tier": "Category tier by cumulative share of items: head = the largest categories that hold the first half, "
    "torso = the next 30 %, tail = the rest.",
    "ladder": "Rankers on the same rows, folds, seed and test queries, in two families. Each is measured against the strong "
    "ranker of its own family, which has text, image, category and word features and no SID; the boosted one also has them "
    "less their mean over the query's candidates, what past queries and words tell of the very item, and how rare the "
    "query's words are: none of it needs a code. A signal's dense twin is the same idea without SIDs: what the twin does "
    "not reach, the discrete codes add. Shuffled SIDs must add nothing. Naive training reads features made by models that "
    "saw the query: it shows what leakage would cost. Interval: bootstrap by query, 95 %.",
    "train_gap": "Hits by SID: queries with a relevant item among the beams, to that depth. They reward collapse: the more "
    "items share a prefix, the easier the hit. By item, a query's best relevant item counts 1 / the items under its prefix: "
    "the deepest level counted so is the number that compares methods. Trained on: training queries, by the "
    "generator that saw their clicks and grades. Out of fold: the same queries, by a generator that did not; the ranker learns "
    "from these features alone. Seen and new test queries: with and without clicks of their own in the training log.",
    "utilisation": "Utilisation: codes that hold at least one item, as a share of the codes of the level.",
    "perplexity": "Perplexity: the number of equally used codes that would be as even as the actual use (2 to the "
    "entropy). Its ratio to the codebook size is 1 when all codes are used alike.",
    "perplexity_ratio": "Perplexity divided by the codebook size: 1 when all codes are used alike.",
    "entropy": "Entropy of code use in bits; the most a level of K codes can have is log2 K.",
    "gini": "Gini: 0 when all hold the same, towards 1 when one holds everything.",
    "dead": "Dead codes: codes of the level that hold no item.",
    "aliasing": "Aliasing: share of items whose whole SID is also held by another item.",
    "harmful_aliasing": "Harmful sharing: items under one SID that belong to different categories, or were graded "
    "differently for the same query. Sharing between alike items is wanted.",
    "unique_share": "Distinct SIDs as a share of items: 1 when no two items share one.",
    "same_sid_others": "How many other items share the SID of an item drawn at random, on average.",
    "knowledge": "What a prefix tells of its items, and what would change it. None of these is known to predict a generator's "
    "quality; compare the same level between methods.",
    "attribute_gain": "An attribute (colour, size, brand ...) is guessed as the commonest value among the other items of the same "
    "prefix, and among the other items of the same category; the gain is the difference in right guesses, in points. Rows "
    "without an attribute's name are means over attributes. Interval: bootstrap over items.",
    "coclick": "Of two items clicked for the same query, how often they share the prefix (mean over queries), beside two items "
    "drawn at random from all clicks, and beside the first parts of the category path. Training may have learnt from the same "
    "log: the notes in the export say so. Interval: by query.",
    "label_score": "The chance that an item's title is nearer (embedding) to the label of its own code than to that of a sibling "
    "under the same parent; .5 = by chance.",
    "flip_rate": "Share of sampled items whose first codes change when the title is written otherwise: two neighbouring letters "
    "exchanged in one word; the second half of the words first, both halves shuffled; three frequent words of its category appended. "
    "Margin: how much nearer the chosen code is than the next one, 0 on the border.",
    "largest_bucket": "Largest bucket: the most items under one whole SID.",
    "purity": "Purity: the share of a prefix's items that belong to its commonest category.",
    "nmi": "Normalised mutual information with the category: 0 = unrelated, 1 = the same division.",
    "neighbour_agreement": "Prefix agreement: how often an item and its true nearest neighbour (in the encoder's space) "
    "share the prefix, beside the same for a random pair.",
    "hourglass": "Hourglass index: how far the evenness of a middle level's use (entropy / log2 K) falls below that of its "
    "neighbours; 0 or less = no bottleneck.",
    "generations": "Generation 0 is what the run was trained on; each later one holds items that `engine assign` gave SIDs "
    "under the same codebook. No SID changes, and everything else on the dashboard speaks of generation 0.",
    "assigned": "Distance: norm of the last residual, from the item's latent vector to its SID's. Far: beyond the 95th percentile "
    "of generation 0, where 5 % are expected; above 15 % the codebook does not know their kind, and training again is due.",
    "validity": "Beam validity: share of decoded SIDs that exist in the catalogue. Constrained search reaches 100 % by "
    "construction; unconstrained decoding shows what the generator has learnt.",
    "generation": "Over judged relevant items; intervals by query. Compare methods by item hits at the deepest level: there a "
    "target counts 1 / the items that share its prefix, while hits by SID reward collapse. Hits on training queries are shown beside those on test "
    "queries: the gap is memory, and the ranker never learns from features made with it. Items that were not retrieved by "
    "the first stage can be neither ranked nor exposed, whatever their code.",
    "exposure": "Exposure: the attention a place receives, 1/log2(1 + rank), summed over retrieved results and weighted "
    "by how often the query is asked; shown as a share.",
    "concentration": "Concentration of exposure over sellers, categories or brands. HHI: sum of squared shares. Gini: unevenness.",
    "protection": "Protected? No: its AUC lift interval lies below zero, or its items are in beams less than half as often as the "
    "catalogue's, or it loses without a level-1 code of its own. Yes: the interval excludes a loss of more than 2 points. "
    "Otherwise n is too small to tell. A category with fewer than 8 test queries is judged by the lift of its department, which "
    "is said and never shown as its own. The reason names all three: own level-1 code, lift, funnel.",
    "funnel": "Funnel, in items, each step within the one before: has a SID; its SID is in some query's beam (among those the "
    "model guesses for it); it is in the top 10 of some query. Stored queries only. Sharing a SID with alike items is no loss, "
    "so it is counted apart.",
    "unshared": "Items that hold their SID alone; the others share it, which is wanted between alike items.",
    "slipped": "Change of an item's share of all exposure (1/log2(1 + rank), every query as often as it is asked), with SIDs minus "
    "without; beside it the query that moved it most in that direction.",
    "lorenz": "How evenly codes are used (Lorenz curve): codes by rising use on the x axis, the share of items they hold together "
    "on the y axis. The diagonal is perfectly even use; Gini says how far below it the curve lies (0 even, towards 1 uneven).",
    "code_label": "Name: the labels of a code's levels, the broadest first. A label is the terms that set a code apart from its "
    "siblings (c-TF-IDF within the parent), unless people named it. Support is the share of its items that carry the term. Label score: "
    "the chance that an item of the code is nearer (by its title's vector) to this label than to a sibling's; 0.5 = by chance; over all of "
    "its items, or 50 of them.",
    "distance": "Distance of an item to the mean of its prefix's items, in the latent space of the quantizer.",
    "residual": "Residual norm: how much of an item's vector is still unexplained before level 1 and after each level.",
    "map": "UMAP places items that are alike near each other; distances between far groups mean little, and the map is "
    "stretched to the page. Trustworthiness: how far map neighbours are true neighbours (1 = all). Preservation: true neighbours "
    "that stayed neighbours.",
    "map_colour": "A value keeps its colour and symbol wherever you look: they are given by the counts of the whole map. Seven values have "
    "colours of their own; fourteen more are told apart by symbols once a view holds 3,000 items or fewer. Scales run from the 1st to the 99th percentile of the whole map.",
    "map_names": "A code is named, at the median place of its items in view, where the middle four fifths of them lie within a quarter of the view "
    "across and up. Zoom in for more and deeper names; names that would touch a larger code's are left out.",
    "map_held": "Into how many codes of each run the items looked at fall, level by level, and how many of them the commonest of those codes holds.",
    "neighbours_kept": "Neighbours kept: of an item's true nearest neighbours (in the space that was quantized), the share that are its "
    "nearest on the map too, averaged over the measured items: all, or a sample by category of a large catalogue. Interval: "
    "normal, over items, 95 %.",
    "enrichment": "Over-represented: codes, categories, sellers, brands and words of titles that these items carry more often than the "
    "rest (at least 3 of them). Log-odds ratio: the logarithm of the odds of carrying it here over the odds elsewhere; 0 = as often, 0.7 = twice, 2.3 = ten "
    "times. At least: its lower bound from exact bounds of both shares, corrected for all comparisons at once (Bonferroni, 95 %): above 0 "
    "it stands out from items drawn at random. What the choice itself fixes (the code, the words looked for) is left out.",
    "sid": "Semantic identifier: one code per level, coarse to fine, written 17-203-88.",
    "by_construction": "By construction: the method forces this value (level 1 belongs to categories), so it says "
    "nothing about quality and is not compared between methods.",
    "severity": "Severity needs size and certainty. Act: a sure loss of 10 % or more of what the one concerned had, and of 0.1 pp or "
    "more once weighed by traffic. Watch: 5 % and 0.01 pp; or as large as Act, but not sure. Note: smaller, or not sure. Well: looked for "
    "and not found. Sure: 95 % interval clear of zero (corrected for looking at many), on 30 equally frequent queries or more. What is "
    "measured of the codebook alone is never sure to harm anybody.",
    "twin": "Dense twin: the same ideas (memory of past queries, words, neighbours, list) told with the embeddings themselves instead of "
    "codes, by the same learner. What it reaches needs no SID; only what SIDs give beyond it is owed to the codes.",
    "placebo": "Placebo: the same ranker after the SIDs were shuffled among the items. It must give nothing; what it gives is no merit of SIDs.",
    "story": "Chosen by rule, not by hand: from judged queries with traffic, where the ranker's own contributions say that SIDs are the reason.",
    "runs": "A run is one method trained on one catalogue with one configuration and seed. 'By SIDs': its own ranker minus the same learner "
    "without SIDs, on all test queries; interval: paired bootstrap by query, 95 %. Time: of all its stages, those taken from another run's "
    "cache with what they took there.",
    "paired_runs": "Both runs' values of the same query (the same words), and their difference: this run minus the other. Interval: bootstrap over "
    "these queries, 95 %; above 0 this run is better. Better, same and worse count queries.",
    "unpaired_runs": "Measures that no query has of its own cannot be paired. Each run's own 95 % interval stands beside it: where the two lie apart "
    "the difference is no chance; where they overlap it may or may not be.",
    "churn": "Churn. Codes are only names, and training again renames them all; so each code of the other run is first matched with the one that holds "
    "most of its items now, level by level inside matched parents (each code in one match). An item moved at a level if its code there or above is not "
    "the match of its old one. Adjusted Rand index: 1 = the same division whatever codes are called, 0 = as alike as by chance. Only items of both runs.",
    "beams_alike": "Of the items that the beams of either run reach for the query (and both runs hold), the share that both reach: 100 % = the guessed "
    "SIDs mean the same, whatever they are called. Below half, the query means something else to the generator now.",
    "two_rankings": "The places of the same query (the same words) in both runs' own rankings, each with SIDs.",
    "two_coverages": "The funnel and the verdict of a category in both runs: the share of its items with a SID that some beam is, and that stand in "
    "the top 10 of some query.",
    "two_exposures": "The share of all exposure under each run's own ranking with SIDs, and what SIDs change in it within each run. The change between "
    "the runs has no interval: it says what these two rankings show, not what another training would.",
    "console": "One read-only SELECT in DuckDB's dialect over the tables of this snapshot. $run is the chosen run. Files, network, settings and "
    "other functions that reach out of the snapshot are refused.",
    "gate": "Whether this run may follow another: worse counts only where it is sure (a 95 % interval beyond what is harmless) and reaches the bar of its "
    "measure; what too few queries leave open is undecided, never passed. The same answer as `engine audit` with that run as its baseline.",
    "notes": "Notes are kept beside snapshots, not in them: a new snapshot has them again, and a report prints them. A code is known by its run and "
    "prefix, a query by its words, an item by its id, a seller by its name, a finding by its kind.",
    "curves": "Measured while the run learnt, by step; losses of different methods are not comparable in size.",
    "cost": "Wall-clock time and peak memory of every stage, on the machine that trained the run. A stage taken from cache was computed for another run.",
    "methods": "Means over seeds on test queries; interval: bootstrap over queries, 95 %. Controls (hashed ids, category paths) and shuffled SIDs know "
    "nothing of items beyond their name or category: what they reach is no merit of learnt codes. Compare hits counted by item.",
    "method_comparisons": "Difference of AUC, paired by query and seed, mean over seeds. Holm corrects p for all comparisons. 'Seeds redrawn': the interval "
    "also draws the seeds anew, so that it holds for another training.",
    "oracle": "Ceiling: the AUC of the hidden truth itself, given the noise in the judgments.",
}

WHAT_IS_A_SID = (
    "A semantic identifier (SID) is an item's address in a few codes, from broad to narrow, learnt so that alike items share "
    "their first codes. From the words of a search a model guesses the addresses of what is wanted; the items that live there may rise."
)

CLICKS = "Grades were read from clicks: this measures agreement with clicks, not relevance."
FROM_GRADES = frozenset(
    ("auc", "ndcg@10", "within_query_auc", "lift", "ladder", "train_gap", "harmful_aliasing", "generation", "protection",
     "oracle", "regression", "grade", "twin", "placebo", "own_ndcg", "merit")
)  # fmt: skip
"""Definitions of what rests on grades."""

METRIC_NAMES = {
    "auc": "Relevant above irrelevant (AUC)",
    "ndcg@10": "Order of the first ten (nDCG@10)",
    "within_query_auc": "Relevant above irrelevant in a query (within-query AUC)",
    "precision": "Relevant among those called relevant (precision)",
    "recall": "Called relevant among the relevant (recall)",
    "hhi": "Concentration (HHI)",
    "gini": "Unevenness (Gini)",
}

SEVERITY_NAMES = {"act": "Act", "watch": "Watch", "note": "Note", "unknown": "Too few", "good": "Well"}
"""Of findings, most urgent first; the engine decides which."""

FIELD_NAMES = {
    "category": "categories",
    "image_embedding": "image embeddings",
    "image_space_embedding": "query embeddings in image space",
    "seller": "sellers",
    "brand": "brands",
    "price": "prices",
    "interactions": "the search log",
    "queries": "queries",
    "judgments": "judgments",
    "items": "the catalogue",
}

_GENERATION_NAMES = {
    "validity": "Beams that exist in the catalogue (constrained)",
    "free_validity": "Beams that exist in the catalogue (decoded freely)",
}


def generation_name(metric: str) -> str:
    """A generator's measure in words: 'hit@5.level_2' -> 'Queries with a relevant item among the 5 beams, level 2'."""
    name, _, level = metric.partition(".level_")
    kind, _, k = name.partition("@")
    where = f", level {level}" if level else ", whole SID"
    if kind == "item_hit":
        return f"Hits counted by item (item hits@{k}){where}"
    if kind == "hit":
        return f"Queries with a relevant item among the {k} beams{where}"
    if kind == "prefix_survival":
        return f"Relevant items whose prefix survives the beam search{where}"
    if kind == "beam_diversity":
        return f"Distinct prefixes among a query's beams{where}"
    if kind == "recall":
        return f"Relevant items among the first {k} retrieved"
    return _GENERATION_NAMES.get(metric, metric.replace("_", " "))


def segment_name(segment: str) -> str:
    """'split=train, out of fold' -> 'training queries, out of fold'; 'all' -> 'test queries'; 'tier=tail' -> 'tail queries'."""
    if segment.partition("=")[0] in ("tier", "category_tier"):
        what, _, which = segment.partition("=")
        return f"{which} queries" if what == "tier" else f"queries of {which} categories"
    return {"all": "test queries", "seen": "seen queries", "new": "new queries"}.get(
        segment, segment.replace("split=train", "training queries")
    )


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>$:~^=&])")
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


_LINKED = re.compile(r"(?<=http:)(?=//)|(?<=https:)(?=//)|(?<=www)(?=\.)|(?<=@)(?=\w)", re.IGNORECASE)
_JOINER = "\u2060"  # seen by nobody


def one_line(text: object) -> str:
    """A text on one line, without the marks that turn the direction of what follows it."""
    return " ".join(_TURNS.sub("", str(text)).split())


def placeless(words: str) -> str:
    """The words without where on this server the workspace lies."""
    place = os.environ.get(VARIABLE, "")
    return words.replace(place, "WORKSPACE") if len(place) > 1 else words


def escape(text: object) -> str:
    """Text that Markdown shows as it is: no links (of bare addresses neither), emphasis, HTML, colour directives or formulas;
    `placeless`."""
    return _MARKDOWN.sub(r"\\\1", _LINKED.sub(_JOINER, one_line(placeless(str(text)))))


def shortened(text: object, width: int = 60) -> str:
    """The text on one line, at most `width` characters, with an ellipsis where it is cut. Not yet escaped."""
    flat = one_line(text)
    return flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"


def settings(values: str | Mapping[str, Any]) -> str:
    """Settings (JSON text, or a mapping) in words: 'n neighbors 15, min dist 0.1'."""
    named = json.loads(values) if isinstance(values, str) else values
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in named.items())


def number(value: float | None, form: str = "number") -> str:
    """One number: 'number' .812, 'percent' 81.2 %, 'points' +1.25 pp (of a fraction), 'count' 1,234.

    Shares of exposure are small and so are their changes: 'share' 1.04 %, 'share_points' +0.034 pp; 'fine' .0103, 'signed' +.0103; 'about' about 630,000;
    'fine_points' +0.0343 pp for single places; 'change' +3.1 % of a relative change.
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if form == "percent":
        return f"{100 * value:.1f} %"
    if form == "points":
        return f"{100 * value:+.2f} pp"
    if form == "share":
        return f"{100 * value:.2f} %"
    if form == "share_points":
        return f"{100 * value:+.3f} pp"
    if form == "fine_points":
        return f"{100 * value:+.4f} pp"
    if form == "change":
        return f"{100 * value:+.1f} %"
    if form == "about":
        return about(value)
    if form == "signed":
        return f"{value:+.4f}"
    if form == "fine":
        return f"{value:.4f}"
    if form == "count":
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"


def about(value: float | None) -> str:
    """A large count no finer than two digits: 'about 630,000'."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 100:
        return f"about {value:.0f}"
    unit = 10 ** (math.floor(math.log10(value)) - 1)
    return f"about {round(value / unit) * unit:,}"


def share(part: float, whole: float) -> str:
    """'12.5 %' of a whole; 'none' of nothing."""
    return number(part / whole, "percent") if whole else "none"


def part(n: float, whole: float) -> str:
    """A share that is never told as nothing: '12.5 %', 'under 0.1 %' of a few among many."""
    return "under 0.1 %" if 0 < n / whole < 0.0005 else number(n / whole, "percent")


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sentence(words: str) -> str:
    """The words with a capital first letter, the rest as it is."""
    return words[:1].upper() + words[1:]


def plural(n: float | None, one: str, many: str) -> str:
    """'1 seller', '3 sellers', 'unknown sellers'."""
    return f"{number(n, 'count')} {one if n == 1 else many}"


def price(value: float | None) -> str:
    """A price with two decimals; the currency stands beside it where it is known."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.2f}"


def interval(low: float | None, high: float | None, form: str = "number") -> str:
    """[low, high] in the same form, the unit once."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return UNKNOWN
    unit = {"percent": " %", "share": " %", "change": " %", "points": " pp", "share_points": " pp"}.get(form, "")
    low_text, high_text = number(low, form), number(high, form)
    return f"[{low_text.removesuffix(unit)}, {high_text.removesuffix(unit)}]{unit}"


def estimate(value: float | None, n: float | None, form: str = "number", least: int = LEAST_QUERIES) -> str:
    """The number, or 'n too small' where it rests on fewer than `least` observations."""
    if n is not None and math.isfinite(n) and n < least:
        return TOO_SMALL
    return number(value, form)


def clicked(implicit: int, held_out: int, total: int) -> str:
    """What a page says of judgments that were read from clicks; '' where none were."""
    if not implicit:
        return ""
    how_many = f"{implicit:,} of {total:,} judgments were read from the clicks of the search log"
    if not held_out:
        return f"{how_many}, for training alone; the grades of test queries were not."
    return f"{how_many}: what rests on grades measures agreement with clicks, not relevance."


def p_value(p: float | None) -> str:
    """A p value in words that fit a sentence."""
    if p is None or not math.isfinite(p):
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def evidence(low: float | None, high: float | None) -> str:
    """What a 95 % interval of a difference says."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    if low > 0:
        return "better, interval clear of zero"
    if high < 0:
        return "worse, interval clear of zero"
    return "not separable from zero"


def not_above_cosine(row: Mapping[Hashable, Any], name: str) -> str:
    """What a trained ranker that is not above raw cosine (a row of `against_cosine`) means, with its numbers."""
    start = "The ranker that serves this run" if row["served"] else f"The ranker '{name}'"
    verdict = "is worse than" if row["high"] < 0 else "cannot be told from"
    numbers = (
        f"AUC {number(row['value'])} against {number(row['cosine'])}, difference {number(row['difference'], 'points')} "
        f"{interval(row['low'], row['high'], 'points')}, {number(row['n'], 'count')} test queries"
    )
    return f"{start} {verdict} raw cosine, which needs no training ({numbers}). More judged queries would tell."


# Query, Explain, Sellers & categories

DEFINITIONS |= {
    "regression": "Worst regression: judged queries by how much nDCG@10 falls when SIDs are used (with minus without). One "
    "query's difference has no interval; it is a place to look, not a finding.",
    "weighted": "The query's part in the mean change of nDCG@10 that weighs measured queries by how often they are asked, in percentage "
    "points: its difference x its searches / the searches of all measured queries. Queries without traffic have no part in it.",
    "judged": "Judged: somebody graded an item for it. Measured: a judged query held out of training, whose nDCG@10 is known with and "
    "without SIDs.",
    "cached": "A text that equals a query of the snapshot (case and spaces aside) is shown from the snapshot; so is a query "
    "id. Anything else is generated live by the run's own model.",
    "live": "Generate beams, scores and explanations again with the run's model, although this query is stored.",
    "beam": "Beam search: at each level the best prefixes are kept and extended, the others pruned. Only SIDs that exist are "
    "reachable; probabilities are shared out among existing children. From the root = the product of the steps.",
    "without": "Without SIDs: the strong ranker trained apart without any SID feature (same learner, folds and seed), "
    "over the same candidates. This is not the SID ranker with its SID switched off.",
    "grade": "Mean grade of the judgments of this query and item; empty where not judged.",
    "unsure": "A generator is said not to know a query when its beams hold less than 20 % of the probability together. The bar is ours; what "
    "falling below it has meant is counted over this run's judged test queries.",
    "learnt": "Judged training queries with words in common, whose relevant items hold the SID. The generator learnt from these grades; it "
    "also learnt from clicks, which a snapshot does not hold.",
    "query_sets": "Queries under one name, kept by text apart from snapshots; a text of the set is measured where a query of that text was "
    "judged and held out of training. Means over those queries, each counting once; with fewer than 30 no number is shown. Interval: bootstrap over "
    "queries, 95 %. Kinds are what the catalogue states of its queries.",
    "variants": "The same query written otherwise by fixed rules that know no language: two letters of its longest word exchanged, one left "
    "out, an s added to its last word or taken away, a brand left out or the commonest brand of page one added, its words in another order. Each "
    "is answered live, as is the query itself, so that nothing but the text differs.",
    "overlap": "Overlap@k: the share of the first k places that both rankings fill with the same items. Rank-biased overlap (RBO): the "
    "overlap at every depth, the first places weighing most (the first ten 86 %); 1 = the same ranking.",
    "unjudged": "Unjudged@k: items among the first k that nobody judged for this query. Where there are many, nDCG says little of what "
    "is on screen.",
    "moves": "Page one: the first ten places. New: SIDs bring it there; gone: SIDs take it away. Up and down: it moves within page one, "
    "or below it.",
    "sid_part": "What the item's SID adds to its score: its exact Shapley contributions, all levels and signals together. Right and blue: more, "
    "left and orange: less.",
    "match": "SID match: how many levels of the item's SID agree with the deepest-agreeing beam of the query.",
    "score": "Score: the ranker's ordinal logit, which orders the results. Only differences between items of one query mean "
    "something.",
    "score_boosted": "Score: the grade that the boosted ranker predicts, which orders the results. Trees may add up to a little "
    "more or less than the scale of grades.",
    "score_given": "Score: as imported; it orders the results.",
    "contributions": "Exact Shapley values of the score. They start from the reference and add up to the score; what a list-"
    "centred feature adds counts with its feature. They explain the ranker with SIDs and are no comparison with the ranker "
    "without.",
    "split": "SID levels: what a level's code adds, all signals together. Signals: what a signal adds, all levels together. Level "
    "and signal: each part apart. All three add up to the same score.",
    "reference": "Reference: this query's mean candidate, with no match of its SID with a beam.",
    "qs_words": "A word is there when the title holds it or another form of it (the same stem). A word that is not there is nearly there when words of the title hold three-letter pieces of it: nearness is the share of its pieces that they hold together. Words of three letters or fewer, and words with digits, must match exactly.",
    "qs_columns": "All of these together are the feature 'Word match' of the waterfall; most also enter as their difference to the mean of the query's candidates. Definitions: docs/method.md, section 3.2.",
    "own": "What past queries' clicks and grades, and the words of its own title, tell of this very item: it needs no SID.",
    "swap": "Both items start from the same reference, so the differences of their contributions add up to the difference of "
    "their scores. Named are the fewest features that explain four fifths of it.",
    "what_if": "The stored ranker evaluated again with the values set here, all else equal. The other candidates keep their "
    "scores; the rank is counted among them.",
    "counterfactual": "Searched: one thing that the ranker reads of the item is set to every value that some candidate of this query "
    "has, all else equal, and the smallest such change that reaches the goal is kept (else the one that comes nearest). Size: the "
    "change in spreads, the standard deviation of that thing among the candidates, so that things can be compared. The other "
    "candidates keep their scores. Trees are not monotone: less of a thing may help. What can be changed in the ranker's eyes need not be possible for a seller.",
    "evidence": "What a signal rests on for this pair. Value: what the ranker read; mean candidate: the mean over this query's "
    "candidates, from which contributions are measured.",
    "evidence_logp": "Probability from the root: that the query wants the codes down to this level, by the generator, shared out "
    "among existing ones. Usual share: the code's share of what past queries led to (smoothed). Times as probable: the first over "
    "the second. Branches: the best prefixes of each level that the beam search weighed; kept ones were extended.",
    "evidence_memory": "Grades of training queries and interactions of the log, by the past queries whose texts are nearest to this one "
    "(cosine of embeddings); never this query's own. Similar words are not the same wish: read the past queries. Counts: "
    "what a piece of feedback weighs, 1 for the nearest query's.",
    "evidence_words": "How many titles under a code hold each of the query's words. The signal compares how often a word is said there with "
    "how often it is said in all titles; it does not read the item's own title alone.",
    "evidence_list": "The first candidates of the first stage, before any ranker. The signal is their weighted share under the "
    "item's code, the item itself left out; weight 1/log2(1 + place).",
    "clusterings": "Memory, words and list are means over several clusterings of the items: this run's own SIDs first, then others made "
    "of titles alone. Level 1, of 9: in how many of the nine both items stand under one code of level 1.",
    "policy": "A policy is tried on the stored scores alone: a bonus is added to every score of the group, or of its items in the first ten "
    "only so many stay and the rest goes just behind the tenth place. Nothing is retrained, no query is asked again, shoppers do "
    "not react.",
    "policy_exposure": "Share of all exposure (1/log2(1 + rank) over retrieved results, each query as often as it is asked), as the stored rankings "
    "are and as they would be. Exact for these queries; the 95 % interval (bootstrap over queries) speaks of new ones.",
    "policy_shown": "How many of the group's items stand in the first ten places, a mean over queries with traffic, each as often as it is asked.",
    "policy_price": "nDCG@10 of the judged queries under the policy, minus as it is: paired by query, 95 % interval by bootstrap over "
    "queries. Items that nobody judged do not count, so what a policy brings up unjudged costs nothing here.",
    "listing": "The query is answered again as if the item read so: its new title is encoded, given codes under the published codebook and "
    "indexed, and everything else stays, clicks and grades on the item too. A query's beams change only where SIDs come or go.",
    "edited_parts": "Exact contributions to the item's score as it is and written so, each from the mean candidate of its own answer; SIDs by "
    "signal.",
    "first_stage": "The place that words and text similarity alone give it, before any ranker: whoever is not among these is not ranked.",
    "one_word": "The query's words that the title lacks, each added alone to its end and asked again as above. What helps the ranker "
    "need not help a shopper.",
    "bulk": "Titles of sampled items are written otherwise: two neighbouring letters exchanged in one word; the second half of the words "
    "first, both halves shuffled; three frequent words of its category appended. All of a kind at once; each item's new score is "
    "placed among the other candidates' scores as they are. Items were chosen for queries that rank them well, so most changes can only lose. Intervals: 95 %, shares by Wilson, places by bootstrap over items.",
    "sid_off": "SID switched off: the same ranker with no match, and every other SID signal at the query's mean candidate.",
    "lost": "One verdict: not retrieved by the first stage; or its SID fell out of the beam at a level; or it matched but "
    "page one scores higher, mainly through one feature.",
    "own_ndcg": "nDCG@10 of this query: how well its judged items are ordered among themselves. Items that nobody judged "
    "are left out, so the first ten places on screen may hold none of the items it speaks of.",
    "live_image": "Image match needs an image-space embedding of the query, which comes with the catalogue. A query "
    "generated live has none, so its image match is unknown and the ranker is told so.",
    "width": "Beam width that keeps it: found by real searches, doubling and then halving the interval, up to 256.",
    "discount": "How much attention a place gets. log2: 1/log2(1 + rank). top10: equal attention to the first ten places, "
    "none below. click: how likely place r is examined under the position-based click model.",
    "online": "A simulation: the logged mix of queries replayed under both rankings through a position-based click model. A "
    "session is one query and its first results. UCTR: share of sessions with a click; UCTCVR: with a purchase. Sessions "
    "stand in for users, whom the log does not know. How attractive an item is never comes from a ranker's score.",
    "online_coverage": "Share of the replayed attention by what an item's attractiveness rests on: the click rate of its grade; its "
    "own clicks; or, unmeasured, what measured items placed alike by the two rankings are.",
    "online_sample": "Sessions in each arm of an A/B test that would show the estimated difference with 80 % power at 5 %, two-sided; "
    "cautious: that would show the end of the interval nearer to zero. Sessions are taken as independent.",
    "exposure_change": "Change of exposure share: with SIDs minus without (the strong ranker trained apart), in percentage "
    "points, summed over retrieved results and weighted by how often each query is asked. Over this query log it is "
    "exact; the 95 % interval (bootstrap over queries) speaks of new queries.",
    "q_value": "q value: the p value corrected for looking at many values at once (Benjamini-Hochberg). Below 0.05 the change "
    "is called clear.",
    "crossing": "The same change, split: the parts add up to the whole. Intervals and q values are those of the audit, computed now "
    "from the stored rankings with fewer resamples.",
    "effective_n": "Effective n: how many equally frequent queries the weighted queries are worth, (sum w)² / sum w². Below "
    "30 a change is not called clear.",
    "merit": "Merit: the value's share of relevance among judged, retrieved pairs. Exposure / merit above 1: shown more than "
    "its judged relevance would earn.",
    "catalogue": "Exposure / catalogue share: above 1 it is shown more than its number of items would earn.",
    "revenue": "Revenue proxy: exposure times price, as a share. No sales are known to it.",
    "hhi": "HHI: the sum of squared exposure shares; 1 when one holds everything.",
    "top10_share": "Share of exposure that the ten largest hold together.",
    "cause": "Cause: each item's change is split equally over the items it passed (or that passed it). Each such part goes to what "
    "put the winner ahead by the ranker's own contributions, in proportion to the differences that favour it: levels and signals "
    "of SIDs, the winner's codes there, or what is not SIDs. Contributions are stored for the first places of either ranking; below "
    "them only SIDs as a whole and the rest are told apart. Rows add up to the change exactly. An account, not an experiment.",
    "drivers": "Mean contribution of each feature to the score of a result (exact Shapley values), over the results that are "
    "explained: the first places of every query with traffic, each query as often as it is asked. Mean: what it adds on "
    "average, signs included. Mean size: signs left aside. Share: of the sum of mean sizes.",
    "came_in": "Read: rows of the file. Accepted: those that became part of the catalogue. Rejected: those that broke a rule that the "
    "row cannot do without. Passed over: those that hold nothing to keep, such as empty lines; they are no fault. Read = "
    "accepted + rejected + passed over.",
    "decision": "What was found out from the file itself because nothing stated it, why, and what to write to have it otherwise. "
    "Marked: it changes what values mean or which are kept. The others say how bytes become a table.",
    "issue": "A rule of the input format that rows broke, by file and column. Costs the row: the row is left out. Costs the value: the row is "
    "kept without it. A row may break several rules, so counts can add up to more than the rejected rows. Share: of the file's rows "
    "less those passed over.",
    "reject": "Rejected rows as the file gives them: JSON by the file's own columns, or the text where no columns could be told apart. "
    "A snapshot holds the first 1,000 of each file and set of broken rules; the catalogue's rejects.parquet holds all.",
    "missing": "Share of accepted rows without a value in the column, as stored: what was unreadable counts as missing. Columns that "
    "no row fills are listed too: they could be given.",
    "title_words": "Words of a title, parted by white space.",
    "department": "Department: the first part of an item's category path.",
    "category_depth": "Depth: how many parts the category path of an item has.",
    "grade_bars": "A pair is a query and an item that were judged together; its grade is the mean over who judged it. Relevant: at or above the "
    "dataset's threshold (relevant_grade).",
    "judged_mix": "Source: who graded, as the file states it; 'implicit' grades were read from clicks. Split: what the pair's query serves "
    "for: training, choosing (valid) or measuring (test).",
    "pairs_per_query": "How many items of a query were judged. One-sided: all of its judged items are relevant, or none is; "
    "such a query says nothing of ranking order.",
    "traffic": "Traffic: how often a query was asked, by the data's own count or else by the log (impressions, then clicks). Queries that are judged or "
    "made from item fields alone have none and are left out, unless there is no log at all.",
    "log": "Sums over the rows of the search log, computed when the snapshot was made (the rows themselves are not in it). Clicks per "
    "impression falls with the position for two reasons: better items stand higher, and higher places are looked at more.",
    "rows": "The catalogue as stored. Words are searched in titles, query texts and category paths, whatever their case; an id is found "
    "when it is given whole.",
    "rater": "Who gave a grade, as the judgments file says it; a language model goes by its name. Not named: the file does not say. "
    "Where several rated a pair, the grade used everywhere else is their mean.",
    "rater_agreement": "Same grade: share of pairs graded alike. Kappa: the part of the agreement that chance would not give (Cohen): 0 is "
    "chance, 1 is perfect; quadratic: a miss by two grades counts four times a miss by one. In brackets the 95 % interval over queries. "
    "Fewer than 30 ratings in common are not compared. A judge can be expected to agree with people as people do with one another.",
    "disputed": "Misplaced against: judged items of the query on the other side of relevant that the served ranking puts on the wrong side "
    "of this one. Surely misplaced: the lower end of the 95 % interval of that share (Wilson), so that 19 of 19 come before 1 of 1. Either the "
    "ranking is wrong or the grade is: look. For a judge, and for people: grades apart from the nearest rating of people, or between their "
    "lowest and highest. Split 'train': the ranking learned from this very grade and stands against it all the same.",
    "judging": "Half of the pairs are those whose grade is most surely disputed, half unjudged ones of page one with most traffic (searches x the "
    "attention of their rank). They come in an order that your name shuffles: the same whenever you return, another one for others.",
    "upload": "Checked by the rules of ingest against this snapshot's catalogue: items must be known, grades within the scale. Nothing "
    "changes here: the file is kept beside the workspace until somebody ingests it.",
    "ledger": "Every judged relevant item: found (on page one), not retrieved by the first stage, lost in the beam (its SID was "
    "pruned at a level, and it is not on page one), or outranked (named: where it falls shortest of the mean of page one).",
}  # fmt: skip

METRIC_NAMES |= {"top10_share": "Share of the ten largest"}

FEATURE_NAMES = {
    "dm": "Text similarity",
    "mm_dm": "Image match",
    "ct": "Category agreement",
    "qs": "Word match",
    "own": "What the item itself tells",
    "mm_missing": "Image missing",
    "qs_coverage": "Query words covered",
    "qs_near": "Query words covered, nearly too",
    "qs_numbers": "Numbers and models covered",
}
LEXICAL_NAMES = {
    "qs": "BM25 of the title",
    "qs_fields": "BM25 of all text",
    "qs_coverage": "Share of the query's words that are there",
    "qs_near": "The same, nearly there counted in part",
    "qs_rare_coverage": "Share there, rare words weighing more",
    "qs_rare_near": "The same, nearly there counted in part",
    "qs_missing_near": "Nearness of the words that are not there",
    "qs_rarest_hit": "Rarity of the rarest word there",
    "qs_rarest_miss": "Rarity of the rarest word missing",
    "qs_numbers": "Share of its numbers and model codes there",
    "qs_order": "Share of neighbouring words that are neighbours in the title",
    "qs_first_place": "Place of the first word found (0 beginning, 1 end of the title)",
    "qs_place": "Mean place of the words found",
    "qs_jaccard": "Words in both / words in either",
    "qs_title_share": "Share of the title's words that the query asks for",
    "qs_first_word": "Nearness of the query's first word",
    "qs_last_word": "Nearness of the query's last word",
    "qs_last_place": "Place of its last word",
    "qs_title_words": "Length of the title (log of 1 + words)",
    "qs_words": "Length of the query (log of 1 + words)",
}
"""The lexical columns, as Explain opens them."""
COLUMN_KINDS = {
    "match": "Match with a beam",
    "logp": "Log probability of the code",
    "pmi": "Log probability of the code, less how common it is",
    "memory": "Mean grade by like past queries under the code",
    "evidence": "How much like past queries say of the code (log of 1 + weight)",
    "clicks": "Share of like past queries' clicks under the code",
    "cluster": "Fit of the query's words to titles under the code",
    "best": "Fit of its words under the code, best clustering",
    "list": "Share of the candidate list under the code",
    "own_grade": "Mean grade by like past queries of this very item",
    "own_evidence": "How much like past queries say of this very item (log of 1 + weight)",
    "own_clicks": "Share of like past queries' clicks on this very item",
    "own_words": "Fit of the query's words to this very title",
}
"""What a column of a SID signal, or of the item's own, holds."""
DIMENSION_NAMES = {
    "seller": "Sellers",
    "category": "Categories",
    "brand": "Brands",
    "price_band": "Price bands",
    "age": "New and old items",
    "seller_size": "Sellers by size",
    "seller_age": "New and old sellers",
}
DIMENSION_NAME = {
    "seller": "Seller", "category": "Category", "brand": "Brand", "price_band": "Price band", "age": "Age of items",
    "seller_size": "Group of sellers", "seller_age": "Group of sellers",
}  # fmt: skip
"""One of them."""


def feature_name(feature: str, label: str | None = None) -> str:
    """A feature as shown: 'Text similarity (dm)', 'SID level 2 (cordless drill)', 'SID level 2: Match with a beam',
    'SID: Match with a beam' for `sid.match`."""
    head, _, signal = feature.partition(".")
    signal = SIGNAL_NAMES.get(signal, signal)
    if feature.startswith("sid_"):
        name = f"SID level {head.removeprefix('sid_')}" + (f" ({label})" if label else "")
        return f"{name}: {signal}" if signal else name
    if head == "sid" and signal:
        return f"SID: {signal}"
    return f"{FEATURE_NAMES[feature]} ({feature})" if feature in FEATURE_NAMES else feature


def column_name(column: str) -> str:
    """A column that a ranker reads, in words: 'Share of the candidate list under the code, level 2'; 'Match with a beam'."""
    if column in COLUMN_KINDS:
        return COLUMN_KINDS[column]
    kind, _, level = column.rpartition("_")
    if kind in COLUMN_KINDS and level.isdigit():
        return f"{COLUMN_KINDS[kind]}, level {level}"
    return FEATURE_NAMES.get(column, LEXICAL_NAMES.get(column, column))


def direction(difference: float | None) -> str:
    """A difference in words and a sign, never colour alone."""
    if difference is None or not math.isfinite(difference):
        return "not judged"
    return "▲ better" if difference > 0 else "▼ worse" if difference < 0 else "= same"


def _known(value: float | None) -> bool:
    return value is not None and value == value  # NaN and pandas' NaT differ from themselves


def move(rank: float | None, rank_without: float | None) -> str:
    """How far an item moves when SIDs are used."""
    if rank is None or not _known(rank):
        return "not retrieved"
    if rank_without is None or not _known(rank_without):
        return UNKNOWN
    steps = int(rank_without - rank)
    return f"▲ {steps} up" if steps > 0 else f"▼ {-steps} down" if steps < 0 else "= same"


def match(level: float | None, levels: int, prefix: str | None) -> str:
    """How deep an item agrees with the beams, in words."""
    if level is None or not _known(level):
        return UNKNOWN
    if int(level) == 0:
        return "no match"
    return f"{int(level)} of {levels} ({prefix})" if isinstance(prefix, str) else f"{int(level)} of {levels}"


def dots(level: float | None, levels: int) -> str:
    """How deep an item agrees with the beams, a dot a level: '●●○'."""
    if level is None or not _known(level):
        return UNKNOWN
    return "●" * int(level) + "○" * (levels - int(level))


def place(rank: float | None, retrieved: bool) -> str:
    """An item's place in words."""
    if not retrieved:
        return "not retrieved"
    return f"rank {int(rank)}" if rank is not None and _known(rank) else f"rank {UNKNOWN}"
