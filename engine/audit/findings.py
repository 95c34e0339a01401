"""What should I look at first: the worst of every audit, ranked, each with the page and parameters of its evidence."""

from __future__ import annotations

import json
from typing import NamedTuple

import pandas as pd

from engine.audit.wording import counted

SIGNIFICANT = 0.05
"""A change of exposure is a finding at or below this q-value."""
MATERIAL = 1e-4
"""... and at or above this change of share (0.01 pp): a sure change may still be nothing."""
LEAST_QUERIES = 30
"""... and resting on so many queries (effective n); fewer are 'n too small' on the page of its evidence."""
MOST_OF_A_KIND = 3
"""Findings shown of one kind: the list is to tell different things."""
METRIC = "ndcg@10"
"""Of `query_metrics`: what regressions are read from."""
_SEVERITY = {"bad": 0, "warn": 1, "info": 2}
_HEALTH = {
    "utilisation": "Level {level} uses {value:.1%} of its codes",
    "dead_codes": "Level {level} has {value:.0f} dead codes",
    "perplexity_ratio": "Level {level} is used as if it had {value:.0%} of its codes",
    "hourglass": "Level {level} is narrower than its neighbours (hourglass {value:.2f})",
    "aliasing": "{value:.1%} of the items share their SID",
    "largest_bucket": "One SID holds {value:.0f} items",
    "same_sid_others": "An item shares its SID with {value:.1f} others on average",
    "harmful_share": "{value:.1%} of the items share a SID to their harm",
    "category_purity": "Level {level} prefixes mix categories (purity {value:.1%})",
    "neighbour_agreement": "Nearest neighbours rarely share a level-{level} prefix ({value:.1%})",
}


class _Finding(NamedTuple):
    severity: str
    weight: float  # How bad it is within its kind, about 0 to 1.
    kind: str
    title: str
    detail: str
    page: str
    params: dict[str, str]


def _health(health: pd.DataFrame) -> list[_Finding]:
    out = []
    for row in health[health["verdict"].isin(["bad", "warn"])].to_dict("records"):
        if row["metric"] not in _HEALTH:
            continue
        level = None if pd.isna(row["level"]) else int(row["level"])
        threshold = row["threshold"]
        distance = abs(row["value"] - threshold) / max(abs(threshold), abs(row["value"]), 1e-9)
        title = _HEALTH[row["metric"]].format(level=level, value=row["value"])
        side = "or more" if row["value"] < threshold else "or less"
        good = f"{100 * threshold:.3g}%" if "%" in _HEALTH[row["metric"]] else f"{threshold:.3g}"  # as the title counts
        detail = "" if pd.isna(threshold) else f"good at {good} {side}"
        detail = "; ".join(part for part in (detail, row["note"]) if isinstance(part, str) and part)
        out.append(_Finding(row["verdict"], distance, "health", title, detail, "codebook", {}))
    return out


def _sharing(sid_sharing: pd.DataFrame, labels: dict[str, str]) -> list[_Finding]:
    harmful = sid_sharing[sid_sharing["harmful"].astype(bool)]
    total = max(int(harmful["n_items"].sum()), 1)
    out = []
    largest = harmful.sort_values(["n_items", "sid"], ascending=[False, True])
    for row in largest.head(MOST_OF_A_KIND).to_dict("records"):
        name = labels.get(row["sid"])
        title = f"{row['n_items']} items share the SID {row['sid']}" + (f" ({name})" if name else "")
        if row["reason"] == "categories":
            detail = f"they lie in {row['n_categories']} categories"
        else:
            detail = f"for {counted(row['n_conflicts'], 'query', 'queries')} some of them are relevant and others not"
        params = {"code": str(row["sid"])}
        out.append(_Finding("warn", row["n_items"] / total, "sharing", title, detail, "codebook", params))
    return out


def _coverage(coverage: pd.DataFrame) -> list[_Finding]:
    out = []
    for row in coverage[coverage["protected"] == "no"].to_dict("records"):
        tail = row["tier"] == "tail"
        lift = 0.0 if pd.isna(row["auc_lift"]) else float(row["auc_lift"])
        title = f"{'Tail category' if tail else 'Category'} '{row['category']}' is not protected"
        weight = min(1.0, 0.5 * tail + max(-10 * lift, 0.0))
        params = {"category": str(row["category"])}
        out.append(
            _Finding("bad" if tail else "warn", weight, "coverage", title, str(row["reason"]), "coverage", params)
        )
    return out


def _exposure(exposure: pd.DataFrame) -> list[_Finding]:
    sure = exposure[(exposure["discount"] == "log2") & (exposure["q_value"] <= SIGNIFICANT)]
    sure = sure[(sure["difference"].abs() >= MATERIAL) & (sure["effective_n"] >= LEAST_QUERIES)]
    out = []
    for dimension in ("seller", "category"):
        for row in sure[(sure["dimension"] == dimension) & (sure["value"] != "(unknown)")].to_dict("records"):
            loses = row["difference"] < 0
            relative = abs(row["difference"]) / max(row["share"], row["share_without"], 1e-12)
            # Losing less than one's judged relevance asks for is no wrong: it is told, but later.
            undeserved = loses and not pd.isna(row["merit"]) and row["merit"] > row["share"]
            severity = "bad" if undeserved and row["n_merit_pairs"] >= 30 else "warn" if loses else "info"
            verb = "loses" if loses else "gains"
            title = (
                f"{dimension.capitalize()} '{row['value']}' {verb} {100 * abs(row['difference']):.2f} pp of exposure"
            )
            detail = (
                f"{row['share_without']:.2%} without SIDs, {row['share']:.2%} with them "
                f"[{100 * row['low']:+.2f}, {100 * row['high']:+.2f} pp], q = {row['q_value']:.3f}"
            )
            if not pd.isna(row["merit"]):
                detail += f"; merit {row['merit']:.2%} from {row['n_merit_pairs']} judged pairs"
            params = {"dimension": dimension, "value": str(row["value"])}
            out.append(
                _Finding(severity, float(relative), f"exposure of a {dimension}", title, detail, "sellers", params)
            )
    return out


def _queries(query_metrics: pd.DataFrame, queries: pd.DataFrame) -> list[_Finding]:
    rows = query_metrics[(query_metrics["metric"] == METRIC) & (query_metrics["difference"] < 0)]
    text = queries.set_index("query_id")["text"]
    out = []
    for row in rows.sort_values(["difference", "query_id"]).head(MOST_OF_A_KIND).to_dict("records"):
        loss = -float(row["difference"])
        asked = text.get(row["query_id"], row["query_id"])
        title = f"Query '{asked}' loses {loss:.2f} of {METRIC.replace('ndcg', 'nDCG')}"
        detail = f"{row['value_without']:.2f} without SIDs, {row['value']:.2f} with them"
        severity = "bad" if loss >= 0.2 else "warn"
        out.append(_Finding(severity, loss, "query", title, detail, "query", {"q": str(row["query_id"])}))
    return out


class Audited(NamedTuple):
    """What is told from: tables of schema.sql, or what was read of them."""

    queries: pd.DataFrame  # query_id, text, frequency.
    query_metrics: pd.DataFrame
    codes: pd.DataFrame  # prefix, label.
    health: pd.DataFrame
    coverage: pd.DataFrame
    exposure: pd.DataFrame
    sid_sharing: pd.DataFrame

    @property
    def labels(self) -> dict[str, str]:
        """Label by prefix, where there is one."""
        pairs = zip(self.codes["prefix"], self.codes["label"], strict=True)
        return {str(prefix): label for prefix, label in pairs if isinstance(label, str)}


def findings_table(audited: Audited, *, limit: int = 12) -> pd.DataFrame:
    """The `findings` table: worst first, at most three of a kind and `limit` in all.

    Ordered by severity, then by the place within the kind (so that kinds alternate), then by weight.
    """
    found = (
        _health(audited.health)
        + _sharing(audited.sid_sharing, audited.labels)
        + _coverage(audited.coverage)
        + _exposure(audited.exposure)
        + _queries(audited.query_metrics, audited.queries)
    )
    found.sort(key=lambda one: (_SEVERITY[one.severity], -one.weight, one.title))
    places: dict[str, int] = {}
    placed = []
    for one in found:
        place = places[one.kind] = places.get(one.kind, 0) + 1
        if place <= MOST_OF_A_KIND:
            placed.append((_SEVERITY[one.severity], place, -one.weight, one.title, one))
    kept = [entry[-1] for entry in sorted(placed, key=lambda entry: entry[:4])[:limit]]
    return pd.DataFrame(
        [
            (place + 1, one.severity, one.kind, one.title, one.detail, one.page, json.dumps(one.params))
            for place, one in enumerate(kept)
        ],
        columns=["position", "severity", "kind", "title", "detail", "page", "params"],
    )
