"""Findings: what is told first, with which evidence."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from engine.audit.findings import Audited, findings_table

PAGES = {"overview", "codebook", "coverage", "query", "explain", "sellers"}
HEALTH = pd.DataFrame(
    [
        (2, "utilisation", 0.5, 0.95, "bad", None),
        (1, "utilisation", 1.0, 0.95, "good", None),
        (None, "aliasing", 0.6, 0.5, "warn", None),
        (1, "perplexity", 3.0, np.nan, "info", None),
    ],
    columns=["level", "metric", "value", "threshold", "verdict", "note"],
)
COVERAGE = pd.DataFrame(
    [
        ("H > Lamps", "tail", -0.05, "no", "lift below 0"),
        ("S > Shoes", "head", 0.02, "yes", "fine"),
        ("S > Boots", "head", -0.03, "no", "lift below 0"),
        ("T > Toys", "tail", np.nan, "n too small", "few"),
    ],
    columns=["category", "tier", "auc_lift", "protected", "reason"],
)
EXPOSURE = pd.DataFrame(
    [
        ("log2", "seller", "x", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 400.0),
        ("log2", "seller", "y", 0.15, 0.10, 0.05, 0.03, 0.07, 0.001, 0.1, 50, 400.0),
        ("log2", "seller", "z", 0.20, 0.30, -0.10, -0.30, 0.10, 0.4, 0.1, 50, 400.0),
        ("top10", "seller", "w", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 400.0),
        ("log2", "seller", "few", 0.05, 0.10, -0.05, -0.07, -0.03, 0.001, 0.2, 50, 29.0),  # too few queries
        ("log2", "seller", "tiny", 0.05, 0.05, -0.00009, -0.0001, -0.00008, 0.001, 0.2, 50, 400.0),  # sure, but nothing
        ("log2", "category", "S > Shoes", 0.05, 0.06, -0.01, -0.02, -0.005, 0.01, 0.01, 50, 400.0),
    ],
    columns=[
        *("discount", "dimension", "value", "share", "share_without", "difference"),
        *("low", "high", "q_value", "merit", "n_merit_pairs", "effective_n"),
    ],
)
QUERY_METRICS = pd.DataFrame(
    [("q1", "ndcg@10", 0.4, 0.9, -0.5), ("q2", "ndcg@10", 0.9, 0.5, 0.4), ("q3", "auc", 0.1, 0.9, -0.8)],
    columns=["query_id", "metric", "value", "value_without", "difference"],
)
SHARING = pd.DataFrame(
    [("3-1-4", 6, 2, 0, True, "categories"), ("3-1-5", 9, 1, 0, False, "alike")],
    columns=["sid", "n_items", "n_categories", "n_conflicts", "harmful", "reason"],
)
QUERIES = pd.DataFrame(
    {"query_id": ["q1", "q2", "q3"], "text": ["red lamp", "trail shoe", "jaguar"], "frequency": [1.0, 2.0, 3.0]}
)
CODES = pd.DataFrame({"prefix": ["3", "4", "3-1", "3-1-4"], "label": ["Shoes", "Cars", "trail · gtx", None]})


def audited(**more: pd.DataFrame) -> Audited:
    return Audited(QUERIES, QUERY_METRICS, CODES, HEALTH, COVERAGE, EXPOSURE, SHARING)._replace(**more)


def findings(**more: pd.DataFrame) -> pd.DataFrame:
    return findings_table(audited(**more))


def test_every_finding_points_to_its_evidence() -> None:
    table = findings()
    assert set(table["page"]) <= PAGES
    params = {row["title"]: (row["page"], json.loads(row["params"])) for row in table.to_dict("records")}
    assert ("coverage", {"category": "H > Lamps"}) in params.values()
    assert ("sellers", {"dimension": "seller", "value": "x"}) in params.values()
    assert ("sellers", {"dimension": "category", "value": "S > Shoes"}) in params.values()
    assert ("query", {"q": "q1"}) in params.values()
    assert ("codebook", {"code": "3-1-4"}) in params.values()


def test_only_what_is_wrong_and_sure_is_told() -> None:
    titles = " | ".join(findings()["title"])
    for absent in ("'z'", "'w'", "'few'", "'tiny'", "T > Toys", "q3", "3-1-5", "Level 1 uses"):
        assert absent not in titles


def test_worst_first_and_kinds_alternate() -> None:
    table = findings()
    order = table["severity"].map({"bad": 0, "warn": 1, "info": 2})
    assert order.is_monotonic_increasing
    assert table["position"].tolist() == list(range(1, len(table) + 1))
    bad = table[table["severity"] == "bad"]
    assert set(bad["kind"]) == {"health", "coverage", "exposure of a seller", "query"}
    assert table.iloc[-1]["title"].startswith("Seller 'y' gains")


def test_no_kind_crowds_out_the_others() -> None:
    many = pd.concat([COVERAGE.assign(category=f"c{i}") for i in range(20)])
    table = findings(coverage=many)
    assert (table["kind"] == "coverage").sum() == 3
    assert len(findings_table(audited(coverage=many), limit=5)) == 5


def test_nothing_wrong_is_an_empty_table_with_its_columns() -> None:
    table = findings(
        health=HEALTH[HEALTH["verdict"] == "good"],
        coverage=COVERAGE.iloc[:0],
        exposure=EXPOSURE.iloc[:0],
        query_metrics=QUERY_METRICS.iloc[:0],
        sid_sharing=SHARING.iloc[:0],
    )
    assert len(table) == 0
    assert table.columns.tolist() == ["position", "severity", "kind", "title", "detail", "page", "params"]
