"""What rankers, SID signals and methods are called, and what a ranker's score is counted in."""

from __future__ import annotations

from typing import NamedTuple

RANKER_NAMES = {
    "cosine": "Text cosine, no training",
    "weak": "Text similarity alone",
    "strong": "Strong, no SIDs",
    "control": "Strong + contrastive cosine",
    "placebo": "Strong + shuffled SIDs",
    "naive": "Strong + SID match, naive training",
    "sid": "Strong + SID match (the paper)",
    "plain_gbm": "The same features, no SIDs",
    "strong_gbm": "Strong, no SIDs: + what the item itself tells",
    "rich_placebo": "All SID signals, shuffled SIDs",
    "rich_naive": "All SID signals, naive training",
    "rich": "All SID signals",
    "twins": "All dense twins",
    "rich_twins": "All SID signals and all twins",
    "given": "Imported, with SIDs",
    "given_without": "Imported, without SIDs",
    "oracle": "Ceiling (hidden truth)",
}

SIGNAL_NAMES = {
    "match": "Match with a beam",
    "logp": "Generator's probability",
    "memory": "Memory of past queries",
    "cluster": "Words under the code",
    "list": "Share of the result list",
}
SIGNAL_MEANINGS = {
    "match": "whether a beam agrees with the item down to this level (the paper's scalar)",
    "logp": "how probable the generator finds the item's code here, also against how common the code is",
    "memory": "what became known of items under the same code for similar past queries",
    "cluster": "how well the query's words fit the titles under the code",
    "list": "how much of the query's candidate list stands under the code",
}

METHOD_NAMES = {
    "dsirm": "DSIRM",
    "tiger": "TIGER",
    "dsi": "DSI",
    "rkmeans": "Residual k-means",
    "category-path": "Category paths (control)",
    "hash": "Hashed ids (control)",
    "none": "No SIDs",
    "imported": "Imported",
    "dsirm-local": "DSIRM, local codes",
    "dsirm-repel": "DSIRM, repulsion",
    "dsirm-keywords": "DSIRM, titles and key terms",
    "dsirm-no-contrastive": "DSIRM, no contrastive training",
    "dsirm-no-category": "DSIRM, no category codes",
    "dsirm-rotation": "DSIRM, rotation trick",
    "dsirm-dynamic": "DSIRM, dynamic encoding",
    "dsirm-2-levels": "DSIRM, 2 levels",
    "dsirm-4-levels": "DSIRM, 4 levels",
    "dsirm-half-k": "DSIRM, half the codes",
    "dsirm-double-k": "DSIRM, twice the codes",
}
METHOD_MEANINGS = {
    "dsirm": "codes trained with queries by contrast, level 1 from categories, where there are any",
    "tiger": "codes of a residual-quantizing autoencoder (RQ-VAE)",
    "dsi": "codes of hierarchical clustering",
    "rkmeans": "codes of k-means on what the level before left over",
    "category-path": "codes spell the item's path in the taxonomy, then runs by popularity; nothing is learnt",
    "hash": "codes are a hash of the item's id and know nothing of it",
    "none": "the rankers alone",
    "imported": "the codes, beams or scores of another system",
    "dsirm-local": "deeper codes made for their own parent, of the trained vectors",
    "dsirm-repel": "items that share codes though graded apart, or of other categories, are pushed apart",
    "dsirm-keywords": "the vectors are half the title's, half those of the item's key terms",
    "dsirm-no-contrastive": "the loss that draws queries to their items switched off",
    "dsirm-no-category": "level 1 learnt like the others, not taken from categories",
    "dsirm-rotation": "gradients pass the quantizer rotated, not copied",
    "dsirm-dynamic": "the text encoder's last layer learns along",
    "dsirm-2-levels": "two codes an item",
    "dsirm-4-levels": "four codes an item",
    "dsirm-half-k": "half as many codes a level",
    "dsirm-double-k": "twice as many codes a level",
}

MLP, BOOSTED = "mlp", "boosted"
LEARNER_NAMES = {MLP: "The paper's ordinal MLP", BOOSTED: "Gradient boosting"}
STRONGEST = {MLP: "strong", BOOSTED: "strong_gbm"}
"""The baseline of each learner: everything but SIDs."""


def method_name(method: str) -> str:
    """A method in a few words; its own name where it is a new one."""
    return METHOD_NAMES.get(method, method)


def method_in_words(method: str) -> str:
    """A method with what it is: 'DSI: codes of hierarchical clustering'."""
    return ": ".join(part for part in (method_name(method), METHOD_MEANINGS.get(method)) if part)


def run_name(run_id: str, method: str) -> str:
    """A run for a menu: 'TIGER · 1a2b3c4d'."""
    return f"{method_name(method)} · {run_id.removeprefix(f'{method}-')}"


def learner(ranker: str | None) -> str | None:
    """Which family a ranker belongs to; None for scores that were imported or need no learner."""
    if ranker in ("weak", "strong", "control", "placebo", "naive", "sid"):
        return MLP
    boosted = ("rich", "twins", "rich_twins", "rich_placebo", "rich_naive")
    return BOOSTED if ranker in boosted or str(ranker).endswith(("_gbm", "_twin")) else None


def ranker_name(ranker: str) -> str:
    """A ranker in plain words: 'Memory of past queries', 'Dense twin of: ...'; an unknown one by its own name."""
    if ranker in RANKER_NAMES:
        return RANKER_NAMES[ranker]
    signal, _, kind = ranker.rpartition("_")
    if signal in SIGNAL_NAMES and kind in ("gbm", "twin"):
        return SIGNAL_NAMES[signal] if kind == "gbm" else f"Dense twin of: {SIGNAL_NAMES[signal]}"
    return ranker


MAIN = (
    "cosine", "weak", "strong", "control", "placebo", "sid", "plain_gbm", "strong_gbm", "rich_placebo", "rich", "twins", "rich_twins",
    "given", "given_without",
)  # fmt: skip
"""The rungs that tell the story; the others say how it comes about."""


def kind(ranker: str) -> str:
    """What a rung is there for: 'SIDs', 'twin' (the same idea without), 'baseline', 'check', or 'other'."""
    if ranker in (*STRONGEST.values(), "given_without"):
        return "baseline"
    if ranker in ("placebo", "naive", "rich_placebo", "rich_naive"):
        return "check"
    if ranker in ("control", "twins") or ranker.endswith("_twin"):
        return "twin"
    if ranker == "plain_gbm":
        return "other"
    return "SIDs" if ranker in ("sid", "rich", "rich_twins", "given") or ranker.endswith("_gbm") else "other"


def line(ranker: str) -> str:
    """The ranker on whose line of the ladder it stands: a twin stands beside its signal."""
    return (
        "rich" if ranker == "twins" else ranker.removesuffix("_twin") + "_gbm" if ranker.endswith("_twin") else ranker
    )


class Unit(NamedTuple):
    """What a score is counted in, where it stands in a sentence, an axis and a column header."""

    axis: str
    difference: str
    column: str
    define: str
    """Key of DEFINITIONS."""


UNITS = {
    MLP: Unit("ranking logit", "difference in logits", "logit", "score"),
    BOOSTED: Unit("predicted grade", "difference in points of predicted grade", "predicted grade", "score_boosted"),
    None: Unit("score", "difference in score", "as given", "score_given"),
}


def unit(ranker: str | None) -> Unit:
    """The unit of a ranker's score."""
    return UNITS[learner(ranker)]
