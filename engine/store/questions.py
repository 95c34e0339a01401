"""Named questions to a snapshot: asked by `engine query`, the MCP server and the dashboard's SQL console.

    rows = ask(cursor, QUESTIONS["ranking"], {"query": "trail shoes", "limit": 10})

One place for each: its name, one sentence, its parameters, its SQL. Names, parameters and columns stay as they are; columns
are only added (docs/programs.md). `$run` may be left out: then it is the snapshot's default run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import ConfigError, shown
from engine.store.locked import Value

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class Parameter(NamedTuple):
    """What a question may be told."""

    about: str
    default: Value = None
    required: bool = True


PARAMETERS = {
    "run": Parameter("run id; without it the snapshot's default run", required=False),
    "query": Parameter("text or id of a stored query"),
    "item": Parameter("item id"),
    "code": Parameter("codes joined by '-', such as 17-203: a prefix, or a whole SID"),
    "dimension": Parameter(
        "seller, category, brand, price_band, age, seller_size or seller_age", default="seller", required=False
    ),
    "limit": Parameter("rows at most", default=20, required=False),
}
MOST_ROWS = 100_000
"""What `limit` may be."""


class Question(NamedTuple):
    """A question by name."""

    name: str
    sentence: str
    sql: str

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of what its SQL asks for, in the order of PARAMETERS."""
        named = named_in(self.sql)
        return tuple(name for name in PARAMETERS if name in named)


_RUN = "coalesce($run, (SELECT default_run FROM snapshot))"
_QUERY = """(
    SELECT query_id FROM queries WHERE query_id = $query OR lower(trim(text)) = lower(trim($query))
    ORDER BY query_id = $query, frequency DESC NULLS LAST, query_id LIMIT 1)"""

QUESTIONS = {
    question.name: question
    for question in (
        Question(
            "findings",
            "What should be looked at first, and how much does it weigh?",
            f"""
SELECT position, severity, kind, title, detail, n, of_n, absolute, relative, low, high, traffic, sure, page, params
FROM findings
WHERE run_id = {_RUN}
ORDER BY position""",
        ),
        Question(
            "runs",
            "Which runs are there, and what do SIDs add to the ranking in each?",
            """
SELECT r.run_id, r.method, r.preset, r.seed, r.ranker, r.baseline, m.value AS auc, c.difference AS auc_lift, c.low, c.high,
       c.p_value, c.n AS n_queries, r.seconds, r.created_at
FROM runs r
LEFT JOIN metrics m ON m.run_id = r.run_id AND m.segment = 'all' AND m.metric = r.ranker || '.auc'
LEFT JOIN comparisons c ON c.run_id = r.run_id AND c.segment = 'all' AND c.metric = 'auc'
                       AND c.ranker = r.ranker AND c.baseline = r.baseline
ORDER BY c.difference DESC NULLS LAST, r.run_id""",
        ),
        Question(
            "worse-queries",
            "Which judged queries get a worse page one with SIDs, the most often asked first?",
            f"""
SELECT q.query_id, q.text, q.frequency, q.tier, q.split, m.value AS ndcg_with, m.value_without AS ndcg_without, m.difference
FROM query_metrics m JOIN queries q USING (query_id)
WHERE m.run_id = {_RUN} AND m.metric = 'ndcg@10' AND m.difference < 0
ORDER BY m.difference * coalesce(q.frequency, 0), m.difference, q.query_id
LIMIT $limit""",
        ),
        Question(
            "losses",
            "Where are relevant items lost: before ranking, in the beam, or outranked by what?",
            f"""
SELECT verdict, level, feature, count(*) AS n_pairs, count(DISTINCT query_id) AS n_queries,
       count(*) / sum(count(*)) OVER () AS share, avg((rank_without_sid <= 10)::INT) AS share_found_without
FROM loss_ledger
WHERE run_id = {_RUN}
GROUP BY ALL
ORDER BY n_pairs DESC, verdict, level, feature""",
        ),
        Question(
            "lost-target",
            "What became of one item for one query, and where was it lost?",
            f"""
WITH pair AS (
    SELECT r.run_id, q.query_id, q.text, i.item_id, i.title, s.sid, s.codes, c.rank, c.rank_without_sid, c.first_stage_rank,
           c.score, coalesce(c.match_level, 0) AS match_level
    FROM runs r, queries q, items i
    LEFT JOIN sids s ON s.run_id = {_RUN} AND s.item_id = i.item_id
    LEFT JOIN scores c ON c.run_id = {_RUN} AND c.query_id = {_QUERY} AND c.item_id = i.item_id
    WHERE r.run_id = {_RUN} AND q.query_id = {_QUERY} AND i.item_id = $item
), pruned AS (  -- levels whose kept branches do not hold its prefix
    SELECT min(level) AS level
    FROM (SELECT unnest(range(1, len(codes) + 1)) AS level, codes, run_id, query_id FROM pair) p
    WHERE EXISTS (SELECT 1 FROM beam_nodes b WHERE b.run_id = p.run_id AND b.query_id = p.query_id)
      AND NOT EXISTS (SELECT 1 FROM beam_nodes b WHERE b.run_id = p.run_id AND b.query_id = p.query_id AND b.level = p.level
                        AND b.kept AND b.prefix = array_to_string(p.codes[:p.level], '-'))
), part AS (  -- all signals of a level of SIDs together, as the ledger tells them
    SELECT c.item_id, any_value(s.rank) AS rank, regexp_extract(c.feature, '^[^.]*') AS feature, sum(c.value) AS value
    FROM contributions c JOIN scores s USING (run_id, query_id, item_id), pair
    WHERE c.run_id = pair.run_id AND c.query_id = pair.query_id AND (s.rank <= 10 OR c.item_id = pair.item_id)
    GROUP BY ALL
), gap AS (
    SELECT own.feature, own.value - page.value AS gap
    FROM part own JOIN (SELECT feature, avg(value) AS value FROM part WHERE rank <= 10 GROUP BY 1) page USING (feature), pair
    WHERE own.item_id = pair.item_id
    ORDER BY gap, feature LIMIT 1
)
SELECT p.query_id, p.text AS query, p.item_id, p.title, p.sid, j.grade,
       CASE WHEN p.rank IS NULL THEN 'not retrieved' WHEN p.rank <= 10 THEN 'found' WHEN pruned.level IS NOT NULL THEN 'lost in the beam'
            ELSE 'outranked' END AS verdict,
       CASE WHEN p.rank > 10 THEN pruned.level END AS level,
       CASE WHEN p.rank > 10 AND pruned.level IS NULL AND gap.gap < 0 THEN gap.feature END AS feature,
       CASE WHEN p.rank > 10 AND pruned.level IS NULL AND gap.gap < 0 THEN gap.gap END AS gap,
       p.rank, p.rank_without_sid, p.first_stage_rank, p.match_level
FROM pair p LEFT JOIN pruned ON true LEFT JOIN gap ON true
LEFT JOIN judgments j ON j.query_id = p.query_id AND j.item_id = p.item_id""",
        ),
        Question(
            "ranking",
            "How does a query rank its items, with SIDs and without?",
            f"""
SELECT s.rank, s.rank_without_sid, s.item_id, i.title, i.category, i.seller, s.score, s.score_without_sid, s.match_level,
       s.matched_prefix, j.grade
FROM scores s JOIN items i USING (item_id)
LEFT JOIN judgments j ON j.query_id = s.query_id AND j.item_id = s.item_id
WHERE s.run_id = {_RUN} AND s.query_id = {_QUERY} AND s.rank IS NOT NULL
ORDER BY s.rank
LIMIT $limit""",
        ),
        Question(
            "explain",
            "What is an item's score for a query made of? Contributions sum to the score minus its reference.",
            f"""
SELECT c.feature, c.value, s.rank, s.score, p.score AS reference, s.match_level, s.matched_prefix
FROM contributions c
JOIN scores s USING (run_id, query_id, item_id)
LEFT JOIN reference_points p ON p.run_id = c.run_id AND p.query_id = c.query_id
                            AND p.ranker = (SELECT ranker FROM runs WHERE run_id = {_RUN})
WHERE c.run_id = {_RUN} AND c.query_id = {_QUERY} AND c.item_id = $item
ORDER BY abs(c.value) DESC, c.feature""",
        ),
        Question(
            "code",
            "What does a code mean: its items, categories, queries and exposure, and those below it?",
            f"""
WITH chosen AS (
    SELECT * FROM codes
    WHERE run_id = {_RUN} AND (prefix = $code OR parent = $code)
    ORDER BY level, n_items DESC, prefix
    LIMIT $limit
), typical AS (
    SELECT c.prefix, list(i.title ORDER BY s.distance[c.level], i.item_id)[:5] AS typical_items
    FROM chosen c JOIN sids s ON s.run_id = c.run_id AND starts_with(s.sid || '-', c.prefix || '-') JOIN items i USING (item_id)
    GROUP BY 1
)
SELECT prefix, level, label, label_score, terms, n_items, n_sids, typical_items, purity, category_entropy, top_category, n_categories,
       n_sellers, n_brands, price_low, price_median, price_high, exposure, exposure_without, n_queries, query_weight, dead, under_used
FROM chosen LEFT JOIN typical USING (prefix)
ORDER BY level, n_items DESC, prefix""",
        ),
        Question(
            "beams",
            "Which SIDs does the generator predict for a query, and what do they mean?",
            f"""
SELECT b.rank, b.sid, exp(b.log_prob) AS probability, b.level_log_probs, b.n_items, c.label, c.top_category
FROM beams b LEFT JOIN codes c ON c.run_id = b.run_id AND c.prefix = b.sid
WHERE b.run_id = {_RUN} AND b.query_id = {_QUERY}
ORDER BY b.rank""",
        ),
        Question(
            "exposure",
            "Who gains and who loses exposure through SIDs, and is it sure?",
            f"""
SELECT "value", verdict, share, share_without, difference, low, high, q_value, n_items, catalogue_share, merit, n_queries, effective_n
FROM exposure
WHERE run_id = {_RUN} AND discount = 'log2' AND dimension = coalesce($dimension, 'seller')
ORDER BY difference, "value"
LIMIT $limit""",
        ),
        Question(
            "coverage",
            "Which categories keep their place, which do not, and why?",
            f"""
SELECT category, tier, protected, judged_by, reason, n_items, in_beam, in_top_k, unshared, purity, auc_lift, low, high, n_queries, pooled_lift,
       pooled_low, pooled_high
FROM coverage
WHERE run_id = {_RUN}
ORDER BY protected = 'no' DESC, protected, n_items DESC, category""",
        ),
        Question(
            "sharing",
            "Which SIDs mix items that should be apart?",
            f"""
SELECT h.sid, h.reason, h.n_items, h.n_categories, h.n_conflicts, c.label, c.top_category, c.query_weight
FROM sid_sharing h LEFT JOIN codes c ON c.run_id = h.run_id AND c.prefix = h.sid
WHERE h.run_id = {_RUN} AND h.harmful
ORDER BY c.query_weight DESC NULLS LAST, h.n_items DESC, h.sid
LIMIT $limit""",
        ),
    )
}
"""Twelve of them, by name."""

_EXAMPLE = f"""
SELECT coalesce((SELECT text FROM queries WHERE query_id = l.query_id), l.query_id) AS query, l.item_id AS item,
       array_to_string(s.codes[:2], '-') AS code
FROM scores l LEFT JOIN queries q USING (query_id) LEFT JOIN sids s ON s.run_id = l.run_id AND s.item_id = l.item_id
WHERE l.run_id = {_RUN} AND l.rank = 1
ORDER BY q.frequency DESC NULLS LAST, l.query_id, l.item_id
LIMIT 1"""


def named_in(sql: str) -> set[str]:
    """Names of the parameters of PARAMETERS that a text mentions as $name."""
    return set(re.findall(r"\$([a-z_]\w*)", sql)) & set(PARAMETERS)


def values(question: Question, given: Mapping[str, Value]) -> dict[str, Value]:
    """What its SQL is given: what was given and the defaults. Raises ConfigError for what is missing, unknown or no number."""
    asked = question.parameters
    for name in given:
        if name not in asked:
            raise ConfigError(
                f"Question '{question.name}' has no parameter '{shown(name)}'; it has: {', '.join(asked) or 'none'}."
            )
    told: dict[str, Value] = {
        name: PARAMETERS[name].default if given.get(name) in (None, "") else given[name] for name in asked
    }
    told |= {name: str(value) for name, value in told.items() if name != "limit" and value is not None}
    for name, value in told.items():
        if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ConfigError(f"{name} '{shown(value)}' holds bytes that are no text.")
    if missing := [name for name in asked if PARAMETERS[name].required and told[name] is None]:
        told_of = "; ".join(f"{name} ({PARAMETERS[name].about})" for name in missing)
        raise ConfigError(f"Question '{question.name}' needs {told_of}.")
    if "limit" in told:
        number = str(told["limit"])
        if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MOST_ROWS:
            raise ConfigError(f"limit is a number from 1 to {MOST_ROWS:,}, not '{shown(number)}'.")
        told["limit"] = int(number)
    return told


def find(name: str) -> Question:
    """The question of that name. Raises ConfigError."""
    if name not in QUESTIONS:
        raise ConfigError(f"There is no question '{shown(name)}'; there are: {', '.join(QUESTIONS)}.")
    return QUESTIONS[name]


def ask(cursor: duckdb.DuckDBPyConnection, question: Question, given: Mapping[str, Value]) -> pa.Table:
    """Its rows. Raises ConfigError as `values` does."""
    return cursor.execute(question.sql, values(question, given)).to_arrow_table()


def example(cursor: duckdb.DuckDBPyConnection, run_id: str | None = None) -> dict[str, Value]:
    """A query of this snapshot, the item it ranks first, and its code: something to begin with. Empty where nothing is ranked."""
    row = cursor.execute(_EXAMPLE, {"run": run_id or None}).fetchone()
    return dict(zip(("query", "item", "code"), row, strict=True)) if row else {}
