"""Findings: a headline a kind, severity by size and certainty, the worst members, and what is well."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.audit.findings import Audited, findings_table
from engine.audit.severity import ACT, BARS, GOOD, NOTE, SEVERITIES, UNKNOWN, WATCH, Harm, severity, worst

PAGES = {"overview", "codebook", "coverage", "query", "explain", "sellers"}
HEALTH = pd.DataFrame(
    [
        (2, "utilisation", 0.5, 0.95, "bad", None),
        (1, "utilisation", 1.0, 0.95, "good", None),
        (None, "aliasing", 0.6, 0.5, "warn", None),
        (1, "perplexity", 3.0, np.nan, "info", None),
        (None, "harmful_share", 0.3, 0.02, "bad", None),  # told by its own kind
    ],
    columns=["level", "metric", "value", "threshold", "verdict", "note"],
)
COVERAGE = pd.DataFrame(
    [
        ("H > Lamps", 4, -0.01, "no", "lift below 0"),
        ("S > Shoes", 40, 0.04, "yes", "fine"),
        ("S > Boots", 30, 0.02, "no", "few of its items are generated"),
        ("T > Toys", 2, np.nan, "n too small", "few"),
    ],
    columns=["category", "n_items", "high", "protected", "reason"],
)
EXPOSURE = pd.DataFrame(
    [
        # A loss of half of its own exposure and of 5 pp of all, less than it earns.
        ("log2", "seller", "x", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 400.0),
        ("log2", "seller", "y", 0.15, 0.10, 0.05, 0.03, 0.07, 0.001, 0.1, 50, 400.0),
        ("log2", "seller", "z", 0.20, 0.30, -0.10, -0.30, 0.10, 0.4, 0.1, 50, 400.0),  # not sure
        ("top10", "seller", "w", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 400.0),  # another discount
        ("log2", "seller", "few", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 29.0),  # too few queries
        ("log2", "seller", "tiny", 0.04991, 0.05, -0.00009, -0.0001, -0.00008, 0.001, 0.2, 50, 400.0),  # sure, 0.2 %
        # A tenth of its own, a sixth of 1 pp of all, and still more than it earns.
        ("log2", "seller", "rich", 0.0135, 0.015, -0.0015, -0.002, -0.001, 0.001, 0.01, 50, 400.0),
        ("log2", "category", "S > Shoes", 0.0594, 0.06, -0.0006, -0.001, -0.0002, 0.01, 0.01, 50, 400.0),
        ("log2", "brand", "B", 0.1, 0.2, -0.1, -0.2, -0.05, 0.001, 0.3, 50, 3.0),
    ],
    columns=[
        *("discount", "dimension", "value", "share", "share_without", "difference"),
        *("low", "high", "q_value", "merit", "n_merit_pairs", "effective_n"),
    ],
)
QUERIES = pd.DataFrame(
    {
        "query_id": ["q1", "q2", "q3", "q4"],
        "text": ["red lamp", "trail shoe", "jaguar", "unasked"],
        "frequency": [1.0, 2.0, 97.0, 0.0],
        "category": ["H > Lamps", "S > Boots", None, None],
    }
)
QUERY_METRICS = pd.DataFrame(
    [
        ("q1", "ndcg@10", 0.4, 0.9, -0.5),
        ("q2", "ndcg@10", 0.9, 0.5, 0.4),
        ("q3", "auc", 0.1, 0.9, -0.8),
        ("q4", "ndcg@10", 0.1, 1.0, -0.9),
    ],
    columns=["query_id", "metric", "value", "value_without", "difference"],
)
SHARING = pd.DataFrame(
    [("3-1-4", 6, 2, 0, True, "categories"), ("3-1-5", 9, 1, 0, False, "alike"), ("4-0-0", 2, 1, 1, True, "grades")],
    columns=["sid", "n_items", "n_categories", "n_conflicts", "harmful", "reason"],
)
CODES = pd.DataFrame(
    {
        "prefix": ["3", "3-1", "3-1-4", "4-0-0"],
        "label": ["Shoes", "trail · gtx", None, "cat"],
        "exposure": [0.5, 0.3, 0.002, 0.00005],
    }
)
LEDGER = pd.DataFrame(
    # 40 queries of one relevant item: 30 stay on page one, 6 leave it, 4 come onto it.
    [(f"r{i}", 1, 2) for i in range(30)] + [(f"r{i}", 11, 10) for i in range(30, 36)] + [(f"r{i}", 3, None) for i in range(36, 40)],
    columns=["query_id", "rank", "rank_without_sid"],
)  # fmt: skip


def findings(**more: pd.DataFrame) -> pd.DataFrame:
    whole = Audited(QUERIES, QUERY_METRICS, CODES, HEALTH, COVERAGE, EXPOSURE, SHARING, LEDGER)
    return findings_table(whole._replace(**more))


def headline(kind: str, **more: pd.DataFrame) -> dict[Any, Any]:
    table = findings(**more)
    return table[(table["kind"] == kind) & (table["member"] == 0)].iloc[0].to_dict()


def members(kind: str, **more: pd.DataFrame) -> pd.DataFrame:
    table = findings(**more)
    return table[(table["kind"] == kind) & (table["member"] > 0)].set_index("title")


class TestSeverity:
    @pytest.mark.parametrize(
        ("absolute", "relative", "sure", "word"),
        [
            (0.001, 0.10, True, ACT),
            (0.001, 0.10, False, WATCH),  # as large, but one observation
            (0.00099, 0.10, True, WATCH),
            (0.001, 0.099, True, WATCH),
            (0.0001, 0.05, True, WATCH),
            (0.0001, 0.05, False, NOTE),
            (0.00009, 0.99, True, NOTE),  # 0.01 pp is nothing, however sure
            (0.5, 0.049, True, NOTE),
            (0.001, None, True, ACT),
            (-0.5, -0.5, True, NOTE),
        ],
    )
    def test_needs_size_in_both_and_certainty(
        self, absolute: float, relative: float | None, sure: bool, word: str
    ) -> None:
        assert severity(Harm(absolute, relative, sure)) == word

    def test_the_documentation_prints_the_bars(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
        printed = re.findall(r"\| severity `(\w+)` \| ([\d.]+) % \| ([\d.]+) pp \|", text)
        assert {w: (float(r) / 100, float(a) / 100) for w, r, a in printed} == {
            w: pytest.approx(b) for w, b in BARS.items()
        }

    def test_the_worst_of_none_is_good(self) -> None:
        assert worst([]) == GOOD
        assert worst([NOTE, ACT, WATCH]) == ACT


def test_every_finding_points_to_its_evidence() -> None:
    table = findings()
    assert set(table["page"]) <= PAGES
    params = [(row["page"], json.loads(row["params"])) for row in table.to_dict("records")]
    assert ("coverage", {"category": "H > Lamps"}) in params
    assert ("sellers", {"dimension": "seller", "value": "x"}) in params
    assert ("query", {"q": "q1"}) in params
    assert ("query", {"order": "worst regression"}) in params
    assert ("query", {"part": "Where relevant items are lost"}) in params
    assert ("codebook", {"code": "3-1-4", "card": "Sharing"}) in params


def test_a_headline_a_kind_then_its_members_worst_first() -> None:
    table = findings()
    assert table["position"].tolist() == list(range(1, len(table) + 1))
    heads = table[table["member"] == 0]
    assert heads["kind"].is_unique
    assert heads["severity"].map(SEVERITIES.index).is_monotonic_increasing
    for _, group in table.groupby("kind", sort=False):
        assert group["member"].tolist() == list(range(len(group)))
        assert group["severity"].iloc[1:].map(SEVERITIES.index).is_monotonic_increasing
        assert group["position"].diff().dropna().eq(1).all()


class TestExposure:
    def test_clear_losers_are_counted_and_summed(self) -> None:
        told = headline("sellers")
        assert told["title"] == "Sellers: 2 of 6 clearly lose 5 % of their exposure or more"
        assert (told["n"], told["of_n"], told["severity"]) == (2, 6, ACT)
        assert told["absolute"] == pytest.approx(0.0515)
        assert told["relative"] == pytest.approx(0.0515 / 0.115)
        assert told["detail"] == (
            "together -5.150 pp of all exposure: 44.8 % of the 11.50 % that they hold without SIDs; "
            "for 1 the queries are too few to tell"
        )

    def test_only_what_is_large_and_sure_is_named(self) -> None:
        rows = members("sellers")
        assert rows["severity"].to_dict() == {
            "x loses 50.0 % of its exposure": ACT,
            "rich loses 10.0 % of its exposure": WATCH,  # large, but it still holds more than it earns
        }
        assert rows["detail"].iloc[0].endswith("less than the 20.00 % that its judged relevance earns")
        assert rows["detail"].iloc[1].endswith("still more than the 1.00 % that its judged relevance earns")

    def test_a_sure_but_small_change_is_well(self) -> None:
        told = headline("categories")
        assert (told["severity"], told["n"], told["of_n"]) == (GOOD, 0, 1)
        assert told["title"] == "Categories: none of 1 clearly loses 5 % of its exposure or more"
        assert (
            told["detail"] == "the most that one clearly loses: S > Shoes, 1.0 % of its own, -0.060 pp of all exposure"
        )

    def test_too_few_queries_is_neither_well_nor_wrong(self) -> None:
        assert headline("brands")["severity"] == UNKNOWN

    def test_many_small_losses_are_one_large_one(self) -> None:
        row = EXPOSURE.iloc[0].to_dict() | {
            "share": 0.0004,
            "share_without": 0.0005,
            "difference": -0.0001,
            "merit": np.nan,
        }
        many = pd.DataFrame([row | {"value": f"s{i}"} for i in range(20)])
        assert set(members("sellers", exposure=many)["severity"]) == {WATCH}
        assert headline("sellers", exposure=many)["severity"] == ACT


class TestQueries:
    def test_counted_and_weighed_by_traffic(self) -> None:
        told = headline("queries")
        assert told["title"] == "2 of 3 judged test queries lose 0.05 of nDCG@10 or more; 1 gain as much"
        assert told["traffic"] == pytest.approx(0.03)
        assert "worth 2 equally frequent queries, too few to weigh by traffic" in told["detail"]
        assert np.isnan(told["absolute"])

    def test_one_query_is_one_observation(self) -> None:
        rows = members("queries")
        assert rows["severity"].to_dict() == {
            "“red lamp” loses 0.50 of nDCG@10": WATCH,  # 0.5 x 1 % of searches is large; a single query is never sure
            "“unasked” loses 0.90 of nDCG@10": NOTE,
        }
        assert rows["absolute"].tolist() == pytest.approx([0.005, 0.0])
        assert rows["detail"].iloc[1] == "1.00 without SIDs, 0.10 with them; not in the search log"

    def test_their_mean_may_be_sure(self) -> None:
        many = pd.DataFrame({"query_id": [f"m{i}" for i in range(40)], "frequency": 1.0, "text": "t", "category": None})
        falls = many[["query_id"]].assign(metric="ndcg@10", value=0.88, value_without=0.9, difference=-0.02)
        told = headline("queries", queries=many, query_metrics=falls)
        assert (told["severity"], told["sure"], told["n"]) == (ACT, True, 0)
        assert told["absolute"] == pytest.approx(-0.02)
        assert told["detail"].endswith("nDCG@10 weighed by traffic: -2.00 pp [-2.00, -2.00]")
        rises = falls.assign(difference=0.02)
        assert headline("queries", queries=many, query_metrics=rises)["severity"] == GOOD


def test_page_one_counts_who_leaves_and_who_comes() -> None:
    told = headline("page one")
    assert told["title"] == "Page one: 6 of 36 relevant items leave it with SIDs; 4 come onto it"
    assert told["absolute"] == pytest.approx(2 / 36)
    assert told["low"] < 2 / 36 < told["high"]
    assert told["severity"] == WATCH, "large, but the interval holds zero"
    assert headline("page one", loss_ledger=LEDGER.iloc[:5])["severity"] == UNKNOWN


def test_unprotected_categories_weigh_by_the_searches_for_them() -> None:
    told = headline("coverage")
    assert told["title"] == "Coverage: 2 of 3 judged categories are not protected"
    assert told["detail"] == "together 3.0 % of all searches; for 1 category n is too small"
    rows = members("coverage")
    assert rows["severity"].to_dict() == {
        "H > Lamps is not protected": ACT,  # 1 % of searches, and the loss is sure
        "S > Boots is not protected": WATCH,  # 2 %, but no loss is measured
    }


def test_harmful_sharing_is_weighed_by_exposure_and_never_sure() -> None:
    told = headline("sharing")
    assert told["title"] == "Sharing: 2 of 3 shared SIDs hold items that are not alike"
    assert told["detail"] == "8 items, 0.2 % of all exposure"
    assert members("sharing")["severity"].to_dict() == {
        "6 items share the SID 3-1-4": WATCH,
        "2 items share the SID 4-0-0 (cat)": NOTE,
    }


def test_what_nobody_judged_is_not_called_alike() -> None:
    open_ = SHARING.iloc[1:2].assign(reason="unjudged")
    told = headline("sharing", sid_sharing=open_)
    assert told["severity"] == UNKNOWN
    assert told["detail"] == "1 other was never judged for one query: what they hold is not known"
    told = headline("sharing", sid_sharing=pd.concat([SHARING, open_, open_]))
    assert told["detail"].endswith("; 2 others were never judged for one query: what they hold is not known")


def test_a_measure_of_the_codebook_is_at_most_to_watch() -> None:
    told = headline("health")
    assert told["title"] == "Codebook: 2 of 3 measures miss their bar"
    assert members("health")["severity"].to_dict() == {
        "Level 2 uses 50.0 % of its codes": WATCH,
        "60.0 % of the items share their SID with another": NOTE,
    }
    assert members("health")["detail"].iloc[0] == "good at 95 % or more"


def test_no_kind_tells_more_than_three() -> None:
    many = pd.concat([COVERAGE.assign(category=f"c{i}") for i in range(20)])
    assert len(members("coverage", coverage=many)) == 3


def test_what_is_well_is_said() -> None:
    table = findings(
        health=HEALTH[HEALTH["verdict"] == "good"], coverage=COVERAGE.iloc[1:2], sid_sharing=SHARING.iloc[1:2],
        exposure=EXPOSURE.iloc[5:6], query_metrics=QUERY_METRICS.iloc[1:2],
    )  # fmt: skip
    told = table.set_index("kind")
    assert told.loc["coverage", "title"] == "Coverage: none of 1 judged category is unprotected"
    assert told.loc["sharing", "title"] == "Sharing: none of 1 shared SID holds items that are not alike"
    assert told.loc["health", "title"] == "Codebook: none of 1 measure misses its bar"
    assert set(told.loc[["coverage", "sharing", "health", "sellers", "queries"], "severity"]) == {GOOD}


def test_what_was_not_measured_is_not_told() -> None:
    table = findings(
        health=HEALTH.iloc[:0], coverage=COVERAGE.iloc[:0], exposure=EXPOSURE.iloc[:0], sid_sharing=SHARING.iloc[:0],
        query_metrics=QUERY_METRICS.iloc[:0], loss_ledger=LEDGER.iloc[:0], codes=CODES.iloc[:0],
    )  # fmt: skip
    assert len(table) == 0
    assert table.columns.tolist()[:4] == ["position", "kind", "member", "severity"]
