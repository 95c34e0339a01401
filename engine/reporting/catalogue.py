"""The catalogue's own tables, as a run divides it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.audit.tiers import category_tiers, query_tiers
from engine.datasets.contract import Catalogue
from engine.problem.division import Division

ITEM_COLUMNS = ["item_id", "title", "category", "seller", "brand", "price", "currency", "description", "attributes",
                "created_at", "popularity", "tier"]  # fmt: skip


def items_table(catalogue: Catalogue) -> pd.DataFrame:
    """Table `items`."""
    items = catalogue.items
    tiers = category_tiers(items["category"].value_counts())
    return items.assign(tier=items["category"].map(tiers))[ITEM_COLUMNS]


def queries_table(catalogue: Catalogue, division: Division) -> pd.DataFrame:
    """Table `queries`: tiers by traffic, split, whether training saw the query, its commonest category."""
    queries, judgments = catalogue.queries, catalogue.judgments
    category = catalogue.items.set_index("item_id")["category"]
    relevant = judgments[judgments["grade"] >= catalogue.settings.relevant_grade]
    clicked = pd.DataFrame(
        {
            "query_id": queries["query_id"].to_numpy()[division.pair_query],
            "item_id": catalogue.items["item_id"].to_numpy()[division.pair_item],
            "weight": division.pair_weight,
        }
    )
    # Judged relevance says it better than clicks do: it decides where there is any.
    votes = pd.concat([clicked, relevant.assign(weight=1e6)[["query_id", "item_id", "weight"]]])
    votes["category"] = votes["item_id"].map(category)
    summed = (
        votes.dropna(subset=["category"]).groupby(["query_id", "category"], sort=True)["weight"].sum().reset_index()
    )
    commonest = summed.sort_values(["weight", "category"], ascending=[False, True]).drop_duplicates("query_id")
    asked = queries["frequency"].fillna(1.0).to_numpy(dtype=np.float64)
    # Traffic is what the log shows; where there is no log, every query that somebody wrote counts.
    logged = (queries["source"] == "log").to_numpy()
    traffic = np.where(logged if logged.any() else queries["source"] != "synthetic", asked, 0.0)
    return pd.DataFrame(
        {
            "query_id": queries["query_id"],
            "text": queries["text"],
            "frequency": traffic,
            "tier": query_tiers(asked),
            "split": division.split.split,
            "source": queries["source"],
            "seen": division.seen[0],
            "kind": queries["kind"],
            "n_judged": queries["query_id"].map(judgments["query_id"].value_counts()).fillna(0).astype(int),
            "category": queries["query_id"].map(commonest.set_index("query_id")["category"]),
        }
    )
