"""Every word of the dashboard by its plain name, the term of art beside it: what tooltips, pages and docs/metrics.md say.

python -m app.glossary        writes the section "Words" of docs/metrics.md from `app.text.DEFINITIONS`
"""

from __future__ import annotations

import re
from pathlib import Path

from app.text import DEFINITIONS

NAMES = {
    "runs": "Runs",
    "paired_runs": "Two runs on the same queries",
    "unpaired_runs": "Measures that cannot be paired",
    "churn": "Items that moved to another code (churn)",
    "beams_alike": "Queries that mean the same in two runs",
    "two_rankings": "A query's ranking in two runs",
    "two_coverages": "A category in two runs",
    "two_exposures": "Exposure in two runs",
    "gate": "May this run follow the other (gate)",
    "notes": "Notes",
    "console": "SQL console",
    "curves": "While learning",
    "cost": "Cost of a run",
    "methods": "Methods side by side (ablation)",
    "method_comparisons": "Method against method",
    "auc": "Relevant above irrelevant (AUC)",
    "ndcg@10": "Order of the first ten (nDCG@10)",
    "within_query_auc": "Relevant above irrelevant in a query (within-query AUC)",
    "lift": "What SIDs add (lift)",
    "seen": "Queries seen in training, and new ones",
    "query_tier": "Frequent and rare queries (query tier)",
    "category_tier": "Large and small categories (category tier)",
    "ladder": "Ladder of rankers",
    "train_gap": "Hits on training and on test queries",
    "utilisation": "Codes in use (utilisation)",
    "perplexity": "How many codes the use amounts to (perplexity)",
    "perplexity_ratio": "The same as a share of the codes (perplexity ratio)",
    "entropy": "Evenness of use (entropy)",
    "gini": "Unevenness (Gini)",
    "dead": "Codes that no item holds (dead codes)",
    "aliasing": "Items that share their SID (aliasing)",
    "harmful_aliasing": "Unlike items under one SID (harmful sharing)",
    "unique_share": "Distinct SIDs per item",
    "same_sid_others": "Others under the same SID",
    "knowledge": "What a prefix tells of its items",
    "attribute_gain": "Attributes that a prefix tells (attribute gain)",
    "coclick": "Clicked together, coded together (co-click alignment)",
    "label_score": "Does the name of a code fit (label score)",
    "flip_rate": "How easily codes change (flip rate, margin)",
    "largest_bucket": "Most items under one SID (largest bucket)",
    "purity": "Codes keep to one category (purity)",
    "nmi": "Agreement of codes with categories (NMI)",
    "neighbour_agreement": "Alike items share codes (prefix agreement)",
    "hourglass": "Bottleneck in the middle (hourglass index)",
    "generations": "Items added later (generations)",
    "assigned": "How well later items fit (distance)",
    "validity": "Guessed SIDs exist (beam validity)",
    "generation": "How well the model guesses",
    "exposure": "How much is seen (exposure)",
    "concentration": "Exposure in few hands (concentration)",
    "protection": "Is a category served (protected)",
    "funnel": "From SID to page one (funnel)",
    "lorenz": "Curve of unevenness (Lorenz)",
    "code_label": "Name of a code (label)",
    "distance": "Distance to the middle of its code",
    "residual": "What its codes leave unsaid (residual norm)",
    "map": "Map of the items (UMAP)",
    "sid": "Semantic identifier (SID)",
    "by_construction": "True by construction",
    "severity": "How urgent a finding is (severity)",
    "twin": "The same ideas without SIDs (dense twins)",
    "placebo": "Shuffled SIDs (placebo)",
    "story": "Stories",
    "oracle": "Ceiling",
    "regression": "Worst regression",
    "cached": "Stored or live",
    "live": "Generate live",
    "beam": "The model's best guesses (beams)",
    "without": "Without SIDs",
    "grade": "Grade of a judgment",
    "match": "Agreement with a guess (SID match)",
    "score": "Score",
    "score_boosted": "Score of the boosted ranker",
    "score_given": "Score, imported",
    "contributions": "What each feature adds (Shapley values)",
    "split": "SIDs by level and by signal",
    "reference": "Reference of the explanation",
    "qs_words": "Words there, nearly there, missing",
    "qs_columns": "Word match, in parts",
    "own": "What the item itself tells",
    "swap": "Why one before the other (swap)",
    "what_if": "What if",
    "sid_off": "SID switched off",
    "lost": "Where an item was lost",
    "own_ndcg": "Order of a query's judged items",
    "live_image": "Image match of a live query",
    "width": "Beam width that keeps it",
    "discount": "Attention by place (discount)",
    "online": "Simulated clicks and purchases (UCTR, UCTCVR)",
    "online_coverage": "What the simulation rests on",
    "online_sample": "Size of an A/B test",
    "exposure_change": "Change of exposure",
    "q_value": "Is a change clear (q value)",
    "effective_n": "Queries it rests on (effective n)",
    "merit": "Exposure that relevance earns (merit)",
    "catalogue": "Exposure by number of items",
    "revenue": "Revenue, a proxy",
    "hhi": "Concentration (HHI)",
    "top10_share": "Share of the ten largest",
    "cause": "Why exposure changed (cause)",
    "drivers": "What decides a place (drivers)",
    "came_in": "Rows read, accepted, rejected",
    "decision": "What was decided on reading",
    "issue": "Broken rules of the input",
    "reject": "Rejected rows",
    "missing": "Missing values",
    "title_words": "Words of a title",
    "department": "Department",
    "category_depth": "Depth of a category",
    "grade_bars": "Judged pairs and grades",
    "judged_mix": "Who judged, and what for",
    "pairs_per_query": "Judged items of a query",
    "traffic": "Traffic",
    "log": "The search log in sums",
    "rows": "Rows of the catalogue",
    "rater": "Who gave a grade (rater)",
    "rater_agreement": "How far raters agree (kappa)",
    "disputed": "Grades that are disputed",
    "judging": "Which pairs to judge (judging queue)",
    "upload": "Uploaded judgments",
    "unshared": "Items that hold their SID alone",
    "slipped": "Items that slipped or rose",
    "map_colour": "Colours of the map",
    "map_names": "Names on the map",
    "map_held": "Two runs on the map",
    "neighbours_kept": "Neighbours kept",
    "enrichment": "What these items carry more often (enrichment)",
    "weighted": "Loss weighed by traffic",
    "judged": "Judged and measured queries",
    "unsure": "A query that the model does not know",
    "learnt": "What the model learnt from",
    "query_sets": "Query sets",
    "variants": "The query written otherwise (variants)",
    "overlap": "How alike two rankings are (overlap, RBO)",
    "unjudged": "Places that nobody judged (unjudged@k)",
    "moves": "Who comes, who goes (moves)",
    "sid_part": "What an item's SID adds",
    "counterfactual": "The smallest change that helps (counterfactual)",
    "evidence": "What a signal rests on (evidence)",
    "evidence_logp": "Evidence: generator's probability",
    "evidence_memory": "Evidence: memory of past queries",
    "evidence_words": "Evidence: words under the code",
    "evidence_list": "Evidence: share of the result list",
    "clusterings": "Several clusterings",
    "policy": "A policy (boost or cap)",
    "policy_exposure": "Exposure under a policy",
    "policy_shown": "Items on page one under a policy",
    "policy_price": "What a policy costs (its price)",
    "listing": "A listing, edited",
    "edited_parts": "What an edit changes, in parts",
    "first_stage": "First stage",
    "one_word": "One word more",
    "bulk": "Titles edited in bulk",
    "crossing": "A group within a group (crossing)",
    "ledger": "What became of every relevant item (loss ledger)",
}
"""Plain words first; a definition without a name here is called by the words before its colon."""

DOCUMENT = Path(__file__).parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- words: written by python -m app.glossary -->", "<!-- end of words -->"


def name(key: str) -> str:
    """What a definition is called."""
    if key in NAMES:
        return NAMES[key]
    head = DEFINITIONS[key].partition(":")[0]
    return head if head != DEFINITIONS[key] and len(head) <= 40 else key.replace("_", " ").capitalize()


def search(words: str) -> list[tuple[str, str]]:
    """(name, definition) of the definitions that hold all of these words; those with them in the name come first."""
    wanted = words.lower().split()
    found = [(name(key), said) for key, said in DEFINITIONS.items()]
    found = [(n, said) for n, said in found if all(word in f"{n} {said}".lower() for word in wanted)]
    return sorted(found, key=lambda one: (not all(word in one[0].lower() for word in wanted), one[0].lower()))


def section() -> str:
    """The section of docs/metrics.md between its marks."""
    rows = [f"| {_cell(n)} | {_cell(said)} |" for n, said in search("")]
    return "\n".join([BEGIN, "| word | what it means |", "|---|---|", *rows, END])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written(document: str) -> str:
    """The document with its section of words as it is to be."""
    return re.sub(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: section(), document, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
