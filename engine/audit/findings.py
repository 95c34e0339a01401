"""What should I look at first: every audit in one headline, the worst first, with the worst members as evidence.

A kind of harm that was looked for and not found has its headline too: what is well is said.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from engine.audit.finding import Group, Told
from engine.audit.intervals import mean_interval
from engine.audit.losers import exposure_group
from engine.audit.severity import (
    GOOD,
    LEAST_QUERIES,
    NOTE,
    SEVERITIES,
    UNKNOWN,
    WATCH,
    Harm,
    severity,
    worst,
)
from engine.audit.traffic import PAGE, traffic_weights
from engine.audit.wording import counted, percent, points

MOST_OF_A_KIND = 3
"""Members told of one kind."""
METRIC = "ndcg@10"
"""Of `query_metrics`: what queries lose and win by."""
FELL = 0.05
"""A query counts as fallen (or risen) from this change of `METRIC` on."""
COLUMNS = (
    *("position", "kind", "member", "severity", "title", "detail", "n", "of_n", "absolute", "relative", "low", "high"),
    *("traffic", "sure", "page", "params"),
)
_HEALTH = {
    "utilisation": "Level {level} uses {value:.1%} of its codes",
    "dead_codes": "Level {level} has {value:.0f} codes that no item holds",
    "perplexity_ratio": "Level {level} is used as if it had {value:.0%} of its codes",
    "hourglass": "Level {level} is narrower than its neighbours (hourglass {value:.2f})",
    "aliasing": "{value:.1%} of the items share their SID with another",
    "largest_bucket": "One SID holds {value:.0f} items",
    "same_sid_others": "An item shares its SID with {value:.1f} others on average",
    "category_purity": "Level {level} codes mix categories (purity {value:.1%})",
    "neighbour_agreement": "Nearest neighbours rarely share a level-{level} prefix ({value:.1%})",
}


class Audited(NamedTuple):
    """What is told from: tables of schema.sql, or what was read of them."""

    queries: pd.DataFrame  # query_id, text, frequency, category.
    query_metrics: pd.DataFrame
    codes: pd.DataFrame  # prefix, label, exposure.
    health: pd.DataFrame
    coverage: pd.DataFrame
    exposure: pd.DataFrame
    sid_sharing: pd.DataFrame
    loss_ledger: pd.DataFrame  # query_id, rank, rank_without_sid of judged relevant pairs.

    @property
    def labels(self) -> dict[str, str]:
        """Label by prefix, where there is one."""
        pairs = zip(self.codes["prefix"], self.codes["label"], strict=True)
        return {str(prefix): label for prefix, label in pairs if isinstance(label, str)}

    @property
    def traffic(self) -> pd.Series:
        """Share of all searches by query; every query counts alike where no traffic is known."""
        weight = traffic_weights(self.queries["frequency"].to_numpy(dtype=np.float64))
        return pd.Series(weight / max(weight.sum(), 1e-300), index=self.queries["query_id"])


def _queries(audited: Audited) -> Group | None:
    """Judged queries that SIDs make worse. One query's loss is one observation, so it is never sure; their mean may be."""
    rows = audited.query_metrics[audited.query_metrics["metric"] == METRIC].dropna(subset=["difference"])
    if rows.empty:
        return None
    traffic = audited.traffic
    rows = rows.assign(traffic=rows["query_id"].map(traffic).fillna(0.0).to_numpy())
    rows = rows.assign(loss=-rows["difference"], harm=-rows["difference"] * rows["traffic"])
    fell, rose = rows[rows["loss"] >= FELL], rows[rows["loss"] <= -FELL]
    asked = audited.queries.set_index("query_id")["text"]
    members = []
    for row in fell.sort_values(["harm", "loss", "query_id"], ascending=[False, False, True]).to_dict("records"):
        relative = row["loss"] / row["value_without"]
        share = f"{percent(row['traffic'])} of all searches" if row["traffic"] > 0 else "not in the search log"
        members.append(
            Told(
                severity(Harm(row["harm"], relative, sure=False)),
                f"“{asked.get(row['query_id'], row['query_id'])}” loses {row['loss']:.2f} of nDCG@10",
                f"{row['value_without']:.2f} without SIDs, {row['value']:.2f} with them; {share}",
                "query", {"q": str(row["query_id"])}, absolute=row["harm"], relative=relative, traffic=row["traffic"], sure=False,
            )
        )  # fmt: skip
    mean, low, high, n = _mean_change(rows)
    known = rows[rows["traffic"] > 0]
    measured = f"nDCG@10 weighed by traffic: {points(mean)} [{100 * low:+.2f}, {100 * high:+.2f}]"
    enough = n >= LEAST_QUERIES
    scope = f"{len(known):,} of them are in the search log, with {percent(known['traffic'].sum())} of all searches"
    detail = (
        f"{scope}. {measured}"
        if enough
        else f"{scope}: worth {n:.0f} equally frequent queries, too few to weigh by traffic"
    )
    own = severity(Harm(-mean, None, sure=high < 0)) if enough and mean < 0 else GOOD
    title = (
        f"{len(fell):,} of {counted(len(rows), 'judged test query', 'judged test queries')} lose {FELL} of nDCG@10 or more; "
        f"{len(rose):,} gain as much"
    )
    word = worst([own, *(told.severity for told in members)])
    headline = Told(
        word, title, detail, "query", {"order": "worst regression"}, len(fell), len(rows), mean if enough else None, None,
        low if enough else None, high if enough else None, float(rows["traffic"].sum()), enough and high < 0,
    )  # fmt: skip
    return Group("queries", headline, members)


def _page_one(audited: Audited) -> Group | None:
    """Judged relevant items that SIDs take off page one, and those that they bring onto it."""
    rows = audited.loss_ledger
    now, before = (
        rows[name].to_numpy(dtype=np.float64, na_value=np.nan) <= PAGE for name in ("rank", "rank_without_sid")
    )
    if not before.any():
        return None
    net = pd.Series(now.astype(int) - before.astype(int)).groupby(rows["query_id"].to_numpy()).sum()
    left, came, there = int((before & ~now).sum()), int((now & ~before).sum()), int(before.sum())
    change = mean_interval(net.to_numpy(dtype=np.float64))
    part = (came - left) / there
    low, high = change.low * change.n / there, change.high * change.n / there
    enough = change.n >= LEAST_QUERIES
    title = f"Page one: {left:,} of {counted(there, 'relevant item', 'relevant items')} leave it with SIDs; {came:,} come onto it"
    detail = (
        f"net {points(part)} [{100 * low:+.2f}, {100 * high:+.2f}], {counted(change.n, 'judged query', 'judged queries')}"
        if enough
        else f"{counted(change.n, 'judged query', 'judged queries')}: too few for an interval"
    )
    word = UNKNOWN if not enough else severity(Harm(-part, None, sure=high < 0)) if part < 0 else GOOD
    headline = Told(
        word, title, detail, "query", {"part": "Where relevant items are lost"}, left, there, -part, None, -high if enough else None, -low if enough else None,
        None, high < 0 or low > 0 if enough else None,
    )  # fmt: skip
    return Group("page one", headline, [])


def _mean_change(rows: pd.DataFrame) -> tuple[float, float, float, float]:
    """Mean change of the metric weighed by traffic, its bootstrap interval over queries, and how many equally frequent
    queries they are worth; nan without traffic."""
    change, weight = rows["difference"].to_numpy(dtype=np.float64), rows["traffic"].to_numpy(dtype=np.float64)
    change, weight = change[weight > 0], weight[weight > 0]
    if not len(change):
        return float("nan"), float("nan"), float("nan"), 0.0
    pick = np.random.default_rng(0).integers(0, len(change), (2_000, len(change)))
    low, high = np.quantile((weight[pick] * change[pick]).sum(axis=1) / weight[pick].sum(axis=1), [0.025, 0.975])
    return float(weight @ change / weight.sum()), float(low), float(high), float(weight.sum() ** 2 / (weight**2).sum())


def _coverage(audited: Audited) -> Group | None:
    """Categories that are not protected, weighed by the searches for them. Sure where the loss of AUC itself is."""
    rows = audited.coverage[audited.coverage["protected"].notna()]
    if rows.empty:
        return None
    share = audited.traffic.groupby(audited.queries.set_index("query_id")["category"]).sum()
    rows = rows.assign(traffic=rows["category"].map(share).fillna(0.0).to_numpy(dtype=np.float64))
    open_ = rows[rows["protected"] == "no"]
    judged = int((rows["protected"] != "n too small").sum())
    left = len(rows) - judged
    small = f"for {counted(left, 'category', 'categories')} n is too small" if left else ""
    members = []
    for row in open_.sort_values(["traffic", "category"], ascending=[False, True]).to_dict("records"):
        sure = bool(row["high"] < 0)
        members.append(
            Told(
                severity(Harm(row["traffic"], None, sure)),
                f"{row['category']} is not protected",
                f"{_searches(row['traffic'])}, {counted(int(row['n_items']), 'item', 'items')}; {row['reason']}",
                "coverage", {"category": str(row["category"])}, traffic=row["traffic"], sure=sure,
            )
        )  # fmt: skip
    if not judged:
        title = f"Coverage: too few test queries to judge any of {counted(len(rows), 'category', 'categories')}"
        return Group("coverage", Told(UNKNOWN, title, "", "coverage", {}, 0, len(rows)), [])
    title = f"Coverage: {len(open_) or 'none'} of {counted(judged, 'judged category', 'judged categories')} " + (
        "is not protected" if len(open_) == 1 else "is unprotected" if open_.empty else "are not protected"
    )
    reached = f"together {percent(open_['traffic'].sum())} of all searches" if len(open_) else ""
    headline = Told(
        worst([one.severity for one in members]), title, "; ".join(part for part in (reached, small) if part), "coverage", {},
        len(open_), judged, traffic=float(open_["traffic"].sum()), sure=any(one.sure for one in members) if members else True,
    )  # fmt: skip
    return Group("coverage", headline, members)


def _searches(traffic: float) -> str:
    return f"{percent(traffic, 2)} of all searches" if traffic > 0 else "never searched for in the log"


def _sharing(audited: Audited) -> Group | None:
    """SIDs whose items are not alike, weighed by their exposure. What it costs in rankings is not measured: never sure."""
    shared = audited.sid_sharing
    if not len(audited.codes):
        return None
    harmful = shared[shared["harmful"].astype(bool)]
    labels = audited.labels
    seen = audited.codes.drop_duplicates("prefix").set_index("prefix")["exposure"]
    harmful = harmful.assign(exposure=harmful["sid"].map(seen).fillna(0.0).to_numpy(dtype=np.float64))
    members = []
    for row in harmful.sort_values(["exposure", "n_items", "sid"], ascending=[False, False, True]).to_dict("records"):
        name = labels.get(row["sid"])
        why = (
            f"they lie in {row['n_categories']} categories"
            if row["reason"] == "categories"
            else f"for {counted(row['n_conflicts'], 'query', 'queries')} some of them are relevant and others not"
        )
        members.append(
            Told(
                severity(Harm(row["exposure"], None, sure=False)),
                f"{row['n_items']} items share the SID {row['sid']}" + (f" ({name})" if name else ""),
                f"{why}; {percent(row['exposure'], 2)} of all exposure",
                "codebook", {"code": str(row["sid"]), "card": "Sharing"}, absolute=row["exposure"], traffic=row["exposure"], sure=False,
            )
        )  # fmt: skip
    n_items, exposure = int(harmful["n_items"].sum()), float(harmful["exposure"].sum())
    unjudged = int((shared["reason"] == "unjudged").sum())
    title = f"Sharing: {len(harmful) or 'none'} of {counted(len(shared), 'shared SID', 'shared SIDs')} " + (
        "holds items that are not alike" if len(harmful) < 2 else "hold items that are not alike"
    )
    detail = [f"{counted(n_items, 'item', 'items')}, {percent(exposure)} of all exposure"] if n_items else []
    if unjudged:
        detail.append(
            f"{counted(unjudged, 'other was', 'others were')} never judged for one query: what they hold is not known"
        )
    word = worst([one.severity for one in members])
    headline = Told(
        UNKNOWN if len(shared) and unjudged == len(shared) else word, title, "; ".join(detail), "codebook",
        {"view": "Shared SIDs"}, len(harmful), len(shared), exposure, traffic=exposure, sure=harmful.empty,
    )  # fmt: skip
    return Group("sharing", headline, members)


def _health(audited: Audited) -> Group | None:
    """Measures of the codebook against their bars. None is an effect on shoppers: the worst is something to watch."""
    known = audited.health[audited.health["metric"].isin(list(_HEALTH))]
    known = known[known["verdict"].isin(["good", "warn", "bad"])]
    if known.empty:
        return None
    rows = known[known["verdict"] != "good"]
    bar = rows["threshold"].fillna(0.0).astype(float)
    size = pd.concat([bar.abs(), rows["value"].abs()], axis=1).max(axis=1).clip(lower=1e-9)
    rows = rows.assign(distance=(rows["value"] - bar).abs() / size)
    members = []
    for row in rows.sort_values(["verdict", "distance", "metric"], ascending=[True, False, True]).to_dict("records"):
        level = None if pd.isna(row["level"]) else int(row["level"])
        members.append(
            Told(
                WATCH if row["verdict"] == "bad" else NOTE,
                _HEALTH[row["metric"]].format(level=level, value=row["value"]).replace("%", " %"),
                "; ".join(part for part in (_good_at(row), row["note"]) if isinstance(part, str) and part),
                "codebook", {"health": "true"} | ({"level": str(level)} if level else {}), relative=row["distance"], sure=True,
            )
        )  # fmt: skip
    title = f"Codebook: {len(rows) or 'none'} of {counted(len(known), 'measure', 'measures')} " + (
        "misses its bar" if len(rows) < 2 else "miss their bar"
    )
    detail = "bars are conventions; what they cost in rankings is not measured"
    headline = Told(
        worst([one.severity for one in members]),
        title,
        detail,
        "codebook",
        {"health": "true"},
        len(rows),
        len(known),
        sure=True,
    )
    return Group("health", headline, members)


def _good_at(row: dict[Hashable, Any]) -> str:
    """The bar of a measure, counted as its title counts."""
    threshold = row["threshold"]
    if pd.isna(threshold):
        return ""
    said = f"{100 * threshold:.3g} %" if "%" in _HEALTH[row["metric"]] else f"{threshold:.3g}"
    return f"good at {said} {'or more' if row['value'] < threshold else 'or less'}"


DIMENSIONS = {
    "seller": "Sellers",
    "category": "Categories",
    "brand": "Brands",
    "price_band": "Price bands",
    "age": "New and old items",
}
"""Of exposure: each is a kind of its own."""


def findings_table(audited: Audited, *, most: int = MOST_OF_A_KIND) -> pd.DataFrame:
    """The `findings` table: a headline for every kind that could be measured, the most urgent first, each followed by its
    worst members, at most `most`. Equal input gives equal findings."""
    every = [  # in this order where they are equally urgent: what shoppers see first, the codebook last
        _queries(audited),
        _page_one(audited),
        *(exposure_group(audited.exposure, dimension, many) for dimension, many in DIMENSIONS.items()),
        _coverage(audited),
        _sharing(audited),
        _health(audited),
    ]
    groups = [group for group in every if group is not None]
    groups.sort(key=lambda group: SEVERITIES.index(group.headline.severity))  # stable: equals keep their order
    rows = []
    for group in groups:
        members = sorted(group.members, key=lambda told: SEVERITIES.index(told.severity))[:most]
        for member, told in enumerate([group.headline, *members]):
            params = json.dumps(told.params)
            rows.append({"kind": group.kind, "member": member, **told._asdict(), "params": params})
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "position"])
    table.insert(0, "position", range(1, len(table) + 1))
    return table
