"""What the report says of the gate: the verdict of `engine audit`, its reasons and bars; the page says the same."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from streamlit.testing.v1 import AppTest
from told import told

from app import gate, report
from engine.audit.gate import FAILED, PASSED, UNDECIDED, Check, Verdict
from engine.audit.gate_config import GateConfig
from engine.reporting.gate import compare
from engine.store.snapshot import current_id

Sql = Callable[..., list[tuple[Any, ...]]]
WORSE = "snap-000000000bad"
HOSTILE = "<script>window.__ran=1</script> *x* \u202e[l](javascript:1)"


@pytest.fixture(scope="module")
def worse(true_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained snapshot, pinned, and as the current one a copy whose nDCG is half as high and which has a new finding."""
    folder, good = tmp_path_factory.mktemp("worse"), f"{current_id(true_workspace)}.duckdb"
    (folder / "snapshots").mkdir()
    shutil.copy(true_workspace / "snapshots" / good, folder / "snapshots")
    (folder / "snapshots" / good).with_suffix(".pinned").touch()
    shutil.copy(folder / "snapshots" / good, folder / "snapshots" / f"{WORSE}.duckdb")
    with duckdb.connect(str(folder / "snapshots" / f"{WORSE}.duckdb")) as connection:
        connection.execute("UPDATE snapshot SET snapshot_id = ?", [WORSE])
        connection.execute("UPDATE query_metrics SET value = value / 2 WHERE metric = 'ndcg@10'")
        connection.execute(
            "UPDATE findings SET severity = 'act', title = ? WHERE kind = 'sellers' AND member = 0", [HOSTILE]
        )
    (folder / "CURRENT").write_text(f"snapshots/{WORSE}.duckdb\n")
    return folder


@pytest.fixture(scope="module")
def pair(worse: Path) -> tuple[tuple[str, str], tuple[str, str]]:
    """(snapshot, run) of the worse one and of its baseline."""
    good = next(p.stem for p in (worse / "snapshots").glob("*.duckdb") if p.stem != WORSE)
    with duckdb.connect(str(worse / "snapshots" / f"{good}.duckdb"), read_only=True) as connection:
        [(run,)] = connection.execute("SELECT default_run FROM snapshot").fetchall()
    return (WORSE, run), (good, run)


def test_it_says_what_the_audit_says(worse: Path, pair: tuple[tuple[str, str], tuple[str, str]]) -> None:
    (snapshot, run), (good, _) = pair
    decided = compare(worse, f"{good}:{run}", GateConfig(), snapshot_id=snapshot, run_id=run)
    audit = gate.ask(worse, *pair)
    assert audit.verdict is not None
    assert audit.verdict.outcome == decided.verdict.outcome == FAILED
    assert audit.verdict.sentence == decided.verdict.sentence
    assert [c.sentence for c in audit.verdict.checks] == [c.sentence for c in decided.verdict.checks]
    assert (audit.rules, audit.rules_of, audit.pinned) == (GateConfig(), "", True)
    lines = gate.lines(audit)
    assert lines[0] == f"No, it fails. {decided.verdict.sentence}"
    assert f"The baseline is {run} of {good}, pinned." in lines
    assert lines[-1].startswith("The same from a shell, with exit code 3: python -m engine audit --baseline")
    for check in decided.verdict.of(FAILED)[1 : 1 + gate.REASONS]:
        assert " ".join(check.sentence.replace("\u202e", "").split()).rstrip(".") + "." in lines
    bars = next(line for line in lines if line.startswith("By the gate's default rules"))
    for bar in (
        "nDCG@10 2 pp",
        "AUC 1 pp",
        "Hits of the generator, by item 5 pp",
        "Tail categories that are protected 6 pp",
    ):
        assert bar in bars  # as docs/gate.md has them
    rows = gate.rows(audit)
    assert len(rows) == len(decided.verdict.checks)
    assert list(rows["said"]) == sorted(rows["said"], key=["failed", "could not be decided", "passed"].index)


def test_its_numbers_are_those_of_the_tables(
    worse: Path, pair: tuple[tuple[str, str], tuple[str, str]], sql: Sql
) -> None:
    """The nDCG of both, from the queries' own rows."""
    (_, run), _ = pair
    [(value, n)] = sql("SELECT avg(value), count(*) FROM query_metrics WHERE run_id = ? AND metric = 'ndcg@10'", run)
    audit = gate.ask(worse, *pair)
    said = f"nDCG@10: {50 * value:.2f} %, in the baseline {100 * value:.2f} %; {-50 * value:+.2f} pp"
    assert audit.verdict is not None
    [check] = [c for c in audit.verdict.checks if c.sentence.startswith("nDCG@10: ")]
    assert check.sentence.startswith(said)
    assert f"{n:,} queries" in check.sentence
    assert (check.outcome == FAILED) == (n >= 30)


def test_page_and_file_say_it(
    worse: Path, pair: tuple[tuple[str, str], tuple[str, str]], open_page: Callable[..., AppTest], tmp_path: Path
) -> None:
    (_, run), (good, _) = pair
    page = open_page("report", worse, base=f"{good}:{run}")
    assert not page.exception
    assert not page.error
    lines = gate.lines(gate.ask(worse, *pair))
    for line in lines:
        assert line in told(page)
    out = tmp_path / "a.html"
    assert (
        report.main(["-w", str(worse), "--base", f"{good}:{run}", "--out", str(out), "--csv", str(tmp_path / "t")]) == 0
    )
    made = out.read_text(encoding="utf-8")
    assert "<h2>Would the gate let it pass?</h2>" in made
    assert "May this run follow the other (gate)" in made
    assert "<script" not in made
    assert "\u202e" not in made.split("<h2>Findings</h2>")[0]
    assert "&lt;script&gt;window.__ran=1&lt;/script&gt;" in made
    assert (tmp_path / "t" / "gate.csv").read_text(encoding="utf-8").count("\n") > len(lines)


def test_without_another_run_there_is_no_gate(worse: Path, open_page: Callable[..., AppTest]) -> None:
    assert not [line for line in told(open_page("report", worse)) if "gate" in line.lower()]


def test_rules_of_a_file_are_kept_and_named(
    worse: Path, pair: tuple[tuple[str, str], tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "gate.toml"
    rules.write_text('[gate]\nfail_on = "watch"\nfindings = false\n[gate.ndcg]\nwatch = 0.6\nact = 0.7\n')
    (_, run), (good, _) = pair
    line = ["-w", str(worse), "--base", f"{good}:{run}", "--out", str(tmp_path / "a.html"), "--config", str(rules)]
    assert report.main(line) == 0
    bars = next(line for line in gate.lines(gate.ask(worse, *pair, rules)) if line.startswith("By the rules"))
    assert bars.startswith(f"By the rules in {rules} it fails at 'watch'")
    assert "nDCG@10 60 pp, AUC 0.5 pp" in bars
    assert "finding" not in bars
    rules.write_text("[gate]\nfail_on = 'never'\n")
    assert report.main(line) == 1
    assert "fail-on 'never' is unknown; allowed: act, watch, note" in capsys.readouterr().err


def test_another_catalogue_is_no_verdict(
    worse: Path, pair: tuple[tuple[str, str], tuple[str, str]], tmp_path: Path
) -> None:
    own = Path(shutil.copytree(worse, tmp_path / "own", ignore=shutil.ignore_patterns("leases")))
    with duckdb.connect(str(own / "snapshots" / f"{WORSE}.duckdb")) as connection:
        connection.execute("UPDATE snapshot SET fingerprint = 'another'")
    [line] = gate.lines(gate.ask(own, *pair))
    assert line.startswith("It cannot be told whether the gate would pass: ")
    assert "is of another catalogue" in line


@pytest.mark.parametrize(
    ("outcome", "start"),
    [(PASSED, "Yes, it passes. "), (UNDECIDED, "It could not be decided. "), (FAILED, "No, it fails. ")],
)
def test_every_outcome_in_words(outcome: str, start: str) -> None:
    checks = [Check("finding", f"kind {n}", outcome, "act", f"{HOSTILE} {n}") for n in range(9)]
    verdict = Verdict(outcome, "9 checks", checks)
    lines = gate.lines(gate.Audit("python", verdict, GateConfig(must_decide=()), "", "r of s", False, ""))
    assert lines[0].startswith(start)
    assert "The baseline is r of s, not pinned, so it may be pruned." in lines
    assert any(re.match(r"3 more checks failed", line) for line in lines) == (outcome == FAILED)
    assert not any("\u202e" in line for line in lines)
    assert "must be decided" not in " ".join(lines)
