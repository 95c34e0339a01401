"""Mutated inputs (`tests.soak.soak_inputs`), a fixed share: no traceback, no row without a count, no hang, no loss of memory."""

from __future__ import annotations

from tests.soak.contract import FAULT, READ
from tests.soak.soak_inputs import cases, run, summary


def test_whatever_comes_in_is_taken_or_refused_in_one_true_sentence() -> None:
    chosen = cases(300, ["files"]) + cases(120, ["judgments", "settings", "judge", "keep", "mcp", "sql"])
    outcomes = run(chosen, seed=7, workers=2, limit=60.0)
    faults = [f"{one.case} ({one.tried.kind}): {one.tried.said}" for one in outcomes if one.tried.how == FAULT]
    assert not faults, "\n".join(faults)
    assert len(outcomes) == len(chosen)
    assert sum(one.tried.how == READ for one in outcomes) > 100, summary(outcomes)
