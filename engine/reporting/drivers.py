"""Table `drivers`: what mainly decides a ranking, as mean contributions over groups of shown pairs (section 6).

Sums are of whole numbers, so that they are the same whatever the order in which rows are read.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.reporting.aggregates import Aggregates

DRIVER_COLUMNS = (*("cohort", "value", "feature", "mean", "mean_absolute", "share", "n_pairs", "n_queries"),)
_STEP = 2.0**-40

# A query's pairs share its weight, brought to at most 1: a frequent query counts as often as it is asked.
_DRIVERS = """
WITH shown AS (
    SELECT m.query, m.item, q.weight / (SELECT max(weight) FROM queries) AS weight,
           CASE WHEN m.rank < m.without THEN 'gained' WHEN m.rank > m.without THEN 'lost' ELSE 'unmoved' END AS moved
    FROM moves m JOIN queries q USING (query) WHERE m.rank <= $depth
), cohorts AS (
    SELECT query, item, weight, 'all' AS cohort, 'all' AS "value" FROM shown
    UNION ALL SELECT query, item, weight, 'moved', moved FROM shown
    UNION ALL SELECT query, item, weight, l.cohort, l."value" FROM shown JOIN item_cohorts l USING (item)
)
SELECT c.cohort, c."value", f.name AS feature,
       sum(CAST(c.weight * t."value" / $step AS HUGEINT))::DOUBLE / sum(CAST(c.weight / $step AS HUGEINT)) AS mean,
       sum(CAST(c.weight * abs(t."value") / $step AS HUGEINT))::DOUBLE / sum(CAST(c.weight / $step AS HUGEINT)) AS mean_absolute,
       count(*) AS n_pairs, count(DISTINCT c.query) AS n_queries
FROM cohorts c JOIN told t USING (query, item) JOIN features f USING (feature)
GROUP BY c.cohort, c."value", f.name
ORDER BY c.cohort, c."value", mean_absolute DESC, feature
"""


def drivers_table(sums: Aggregates, items: pd.DataFrame, categories: pd.DataFrame, depth: int) -> pd.DataFrame:
    """The `drivers` table over the pairs that the served ranking puts among the first `depth` of a query with traffic.

    `items`, `categories`: the tables. `share`: a feature's part of all mean absolute contributions of the cohort. Empty where
    nothing was ranked both ways and explained.
    """
    if not sums.features:
        return pd.DataFrame(columns=list(DRIVER_COLUMNS))
    department = items["category"].map(categories.set_index("category")["department"])
    parts = [
        pd.DataFrame({"item": np.arange(len(items)), "cohort": name, "value": column}).dropna()
        for name, column in (
            ("category", items["category"]), ("department", department), ("tier", items["tier"]), ("seller", items["seller"])
        )
    ]  # fmt: skip
    sums.answers.lookup("item_cohorts", pd.concat(parts, ignore_index=True))
    made = sums.answers.query(_DRIVERS, depth=depth, step=_STEP)
    total = made.groupby(["cohort", "value"])["mean_absolute"].transform("sum")
    return made.assign(share=made["mean_absolute"] / total.where(total > 0))[list(DRIVER_COLUMNS)]
