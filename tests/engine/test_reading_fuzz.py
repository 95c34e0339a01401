"""Mutated inputs (`tests.bench.fuzz_reading`), a fixed share: no traceback, no row without a count, no hang, no loss of memory."""

from __future__ import annotations

from tests.bench.fuzz_reading import run, summary


def test_whatever_a_folder_holds_is_read_or_refused_in_one_true_sentence() -> None:
    outcomes = run(range(300), seed=7, workers=2, limit=60.0)
    faults = [f"{one.number} ({', '.join(one.mutations)}): {one.said}" for one in outcomes if one.how == "fault"]
    assert not faults, "\n".join(faults)
    assert len(outcomes) == 300
    assert sum(one.how == "read" for one in outcomes) > 60, summary(outcomes)
