"""The gate on published runs: against itself, against a worse run, in a script, in JUnit and Markdown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest

from engine.audit.gate import ALL, FAILED, PASSED, UNDECIDED, Check, Verdict, conclude
from engine.audit.gate_config import GateConfig
from engine.audit.severity import ACT, GOOD, UNKNOWN
from engine.errors import ConfigError, RunError, SnapshotError
from engine.evaluation.pairs import ndcg
from engine.reporting.gate import Audit, compare
from engine.reporting.gate_measures import Side
from engine.reporting.gate_report import as_junit, as_markdown
from engine.store.snapshot import list_snapshots, prune
from tests.conftest import ROOT, Trained

WORSE = "snap-000000000bad"


@pytest.fixture(scope="module")
def workspace(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained snapshot, pinned, and as the current one its copy whose run with SIDs ranks the other way round."""
    folder = tmp_path_factory.mktemp("gate") / "workspace"
    (folder / "snapshots").mkdir(parents=True)
    good = trained.workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    shutil.copy(good, folder / "snapshots")
    (folder / "snapshots" / good.name).with_suffix(".pinned").touch()
    with duckdb.connect(str(folder / "snapshots" / good.name)) as connection:
        connection.execute("UPDATE findings SET severity = 'good' WHERE kind = 'brands'")
    shutil.copy(folder / "snapshots" / good.name, folder / "snapshots" / f"{WORSE}.duckdb")
    with duckdb.connect(str(folder / "snapshots" / f"{WORSE}.duckdb")) as connection:
        spoil(connection, trained.dsirm_run)
    (folder / "CURRENT").write_text(f"snapshots/{WORSE}.duckdb\n")
    return folder


def spoil(connection: duckdb.DuckDBPyConnection, run: str) -> None:
    """The best items last, no beam that matches, and a new finding to act on."""
    connection.execute("UPDATE snapshot SET snapshot_id = ?", [WORSE])
    connection.execute("UPDATE scores SET score = -score, match_level = 0 WHERE run_id = ?", [run])
    pairs = connection.execute(
        "SELECT s.query_id, s.score, j.grade FROM scores s JOIN judgments j USING (query_id, item_id) "
        "JOIN queries q USING (query_id) WHERE s.run_id = ? AND q.split = 'test'",
        [run],
    ).df()
    ids, query = np.unique(pairs["query_id"], return_inverse=True)
    for query_id, value in zip(
        ids, ndcg(pairs["score"].to_numpy(), pairs["grade"].to_numpy(), query, len(ids)), strict=True
    ):
        connection.execute(
            "UPDATE query_metrics SET value = ? WHERE run_id = ? AND metric = 'ndcg@10' AND query_id = ?",
            [float(value), run, query_id],
        )
    connection.execute(
        "UPDATE findings SET severity = 'act', title = 'Brands: 9 of 9 lose' WHERE run_id = ? AND kind = 'brands' AND member = 0",
        [run],
    )


def checks(audit: Audit) -> dict[tuple[str, str], Check]:
    return {(check.name, check.segment): check for check in audit.verdict.checks}


def command(workspace: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "engine", "audit", "--workspace", str(workspace), *map(str, arguments)]
    return subprocess.run(
        line, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_a_run_against_itself_passes_without_a_difference(workspace: Path, trained: Trained) -> None:
    audit = compare(workspace, trained.snapshot_id, GateConfig(), snapshot_id=trained.snapshot_id)
    assert audit.verdict.outcome == PASSED, audit.verdict.sentence
    assert not audit.verdict.of(FAILED)
    measured = [check for check in audit.verdict.checks if check.difference is not None]
    assert {check.difference for check in measured} == {check.low for check in measured} == {0.0}
    assert {check.name for check in audit.verdict.checks} >= {
        "ndcg",
        "auc",
        "item_hit",
        "utilisation",
        "harmful_sharing",
        "concentration",
        "finding",
    }


def test_its_values_are_those_of_the_pages(workspace: Path, trained: Trained) -> None:
    """Recomputed AUC, nDCG and hits equal the table `metrics`; exposure that of `exposure_concentration`."""
    told = checks(compare(workspace, trained.snapshot_id, GateConfig(), snapshot_id=trained.snapshot_id))
    with duckdb.connect(str(workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"), read_only=True) as connection:
        sql = "SELECT metric, value FROM metrics WHERE run_id = ? AND segment = 'all'"
        metrics = dict(connection.execute(sql, [trained.dsirm_run]).fetchall())
        sql = "SELECT value FROM exposure_concentration WHERE run_id = ? AND discount = 'log2' AND dimension = 'seller' AND metric = 'top10_share'"
        share = connection.execute(sql, [trained.dsirm_run]).fetchone()
        levels = connection.execute("SELECT levels FROM runs WHERE run_id = ?", [trained.dsirm_run]).fetchone()
    assert share is not None
    assert levels is not None
    assert told["auc", ALL].value == pytest.approx(metrics["rich.auc"])
    assert told["ndcg", ALL].value == pytest.approx(metrics["rich.ndcg@10"])
    assert told["item_hit", ALL].value == pytest.approx(metrics[f"item_hit@5.level_{levels[0]}"])
    assert told["concentration", ALL].value == pytest.approx(share[0])


def test_a_worse_run_fails_and_names_its_reasons(workspace: Path) -> None:
    audit = compare(workspace, "pinned", GateConfig())
    told = checks(audit)
    assert audit.verdict.exit_code == 3
    assert told["ndcg", ALL].outcome == told["auc", ALL].outcome == told["item_hit", ALL].outcome == FAILED
    assert told["ndcg", ALL].severity == ACT
    assert told["finding", "brands"].outcome == FAILED
    assert "Brands: 9 of 9 lose" in told["finding", "brands"].sentence
    assert told["harmful_sharing", ALL].outcome == PASSED
    assert "nDCG@10" in audit.verdict.sentence


def test_the_other_way_round_is_no_failure(workspace: Path, trained: Trained) -> None:
    audit = compare(workspace, f"{WORSE}:{trained.dsirm_run}", GateConfig(), snapshot_id=trained.snapshot_id)
    assert audit.verdict.outcome == PASSED
    assert checks(audit)["auc", ALL].difference > 0.1  # type: ignore[operator]


def test_a_run_without_sids_says_what_cannot_be_compared(workspace: Path, trained: Trained) -> None:
    audit = compare(workspace, trained.none_run, GateConfig(), snapshot_id=trained.snapshot_id)
    told = checks(audit)
    assert told["item_hit", ALL].outcome == told["utilisation", ALL].outcome == UNDECIDED
    assert "no beams" in told["item_hit", ALL].sentence
    assert told["auc", ALL].n == told["ndcg", ALL].n


def test_too_few_queries_are_their_own_outcome(workspace: Path, trained: Trained, tmp_path: Path) -> None:
    rules = tmp_path / "gate.toml"
    rules.write_text("[gate]\nleast = 100_000\n")
    given = ("--baseline", "pinned", "--snapshot", trained.snapshot_id, "--config", rules)
    done = command(workspace, "--baseline", trained.dsirm_run, *given[2:])
    assert done.returncode == 4, done.stdout + done.stderr
    assert "Could not be decided." in done.stdout
    assert "100000 are needed" in done.stdout.replace("\n", " ")
    assert command(workspace, "--baseline", trained.dsirm_run, *given[2:], "--undecided", "fail").returncode == 3
    assert command(workspace, "--baseline", trained.dsirm_run, *given[2:], "--undecided", "pass").returncode == 0


def test_another_catalogue_is_refused(workspace: Path, trained: Trained, tmp_path: Path) -> None:
    other = tmp_path / "workspace"
    shutil.copytree(workspace, other)
    with duckdb.connect(str(other / "snapshots" / f"{trained.snapshot_id}.duckdb")) as connection:
        connection.execute("UPDATE snapshot SET fingerprint = 'ffffffffffffffff', dataset = 'Another shop'")
    with pytest.raises(ConfigError, match=r"is of another catalogue \('Another shop', ffffffffffff\)"):
        compare(other, "pinned", GateConfig())
    done = command(other, "--baseline", "pinned")
    assert done.returncode == 1
    assert "nothing can be paired" in done.stderr


@pytest.mark.parametrize(
    ("baseline", "error", "said"),
    [
        ("snap-0000nothere", SnapshotError, "is not in"),
        ("dsirm-nobody", RunError, "is no run of any snapshot"),
        (f"{WORSE}:dsirm-nobody", RunError, f"is not in {WORSE}; it holds"),
        ("../../etc/passwd", RunError, "is no run of any snapshot"),
    ],
)
def test_an_unknown_baseline_says_what_there_is(
    workspace: Path, baseline: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        compare(workspace, baseline, GateConfig())


def test_a_pinned_baseline_is_never_pruned(workspace: Path, trained: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "workspace"
    shutil.copytree(workspace, copy)
    pin = copy / "snapshots" / f"{trained.snapshot_id}.pinned"
    pin.unlink()
    shutil.rmtree(copy / "snapshots" / "leases", ignore_errors=True)
    with pytest.raises(SnapshotError, match=r"No other snapshot .* is pinned"):
        compare(copy, "pinned", GateConfig())
    assert "is not pinned and may be pruned" in command(copy, "--baseline", trained.snapshot_id).stdout.replace(
        "\n", " "
    )
    assert not pin.exists()
    done = command(copy, "--baseline", trained.snapshot_id, "--pin")
    assert "is not pinned" not in done.stdout
    for n in range(5):
        (copy / "snapshots" / f"snap-{n}.duckdb").touch()
    os.utime(copy / "snapshots" / f"{trained.snapshot_id}.duckdb", (0, 0))
    assert prune(copy)
    assert trained.snapshot_id in [info.snapshot_id for info in list_snapshots(copy)]


def test_a_gate_in_a_script_goes_red_and_names_its_reason(workspace: Path, trained: Trained, tmp_path: Path) -> None:
    """The journey of a night: publish, audit, and the script stops with the reason in every file it leaves."""
    script = f"""set -uo pipefail
gate() {{ "{sys.executable}" -m engine audit --workspace "{workspace}" --fail-on high "$@"; }}
gate --baseline pinned --snapshot {WORSE} --junit "{tmp_path}/gate.xml" --markdown "{tmp_path}/gate.md" --json-file "{tmp_path}/gate.json"
red=$?
gate --baseline {trained.snapshot_id} --snapshot {trained.snapshot_id} --json
echo "red $red, green $?"
exit $red
"""
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.strip().endswith("red 3, green 0")
    assert "Failed." in done.stdout
    told = json.loads((tmp_path / "gate.json").read_text())
    assert (told["outcome"], told["exit_code"], told["rules"]["fail_on"]) == (FAILED, 3, ACT)
    reason = next(check for check in told["checks"] if check["name"] == "ndcg" and check["segment"] == ALL)
    assert reason["high"] < 0
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()[0]
    failures = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert {"nDCG@10", "AUC", "Finding, brands"} <= set(failures)
    assert int(suite.get("failures", "")) == len(failures)
    assert int(suite.get("tests", "")) == len(list(suite.iter("testcase"))) == len(told["checks"])
    markdown = (tmp_path / "gate.md").read_text()
    assert markdown.startswith("### ❌ Sidelight gate failed")
    assert "Brands: 9 of 9 lose" in markdown


def test_json_is_the_last_line(workspace: Path, trained: Trained) -> None:
    told = last_line(command(workspace, "--baseline", trained.snapshot_id, "--snapshot", trained.snapshot_id, "--json"))
    assert told["outcome"] == PASSED
    assert told["baseline"]["pinned"] is True
    assert {"value", "baseline", "difference", "low", "high", "n", "bar", "sentence"} <= set(told["checks"][0])


def test_words_of_the_catalogue_are_words(tmp_path: Path) -> None:
    """A title may hold anything: no markup, no mention, no broken XML."""
    hostile = "<b>@octocat</b> | [x](http://x) `y` \x00 ]]> & \ud800"
    found = [Check("finding", "sellers", FAILED, ACT, hostile), Check("auc", ALL, UNDECIDED, UNKNOWN, hostile),
             Check("finding", "brands", UNDECIDED, UNKNOWN, hostile), Check("ndcg", ALL, PASSED, GOOD, hostile)]  # fmt: skip
    side = Side("snap-1", "run-1", "f", "shop", 1.0, 3, 5, True)
    audit = Audit(conclude(found, GateConfig()), side, side, GateConfig())
    assert isinstance(audit.verdict, Verdict)
    root = ElementTree.fromstring(as_junit(audit).encode())
    assert [case[0].tag for case in root.iter("testcase")] == ["failure", "error", "skipped", "system-out"]
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("1", "1", "1")
    told = as_markdown(audit)
    assert "<b>" not in told
    assert "@octocat" not in told
    assert r"\[x\](http://x)" in told
    assert "\x00" not in told
    told.encode("utf-8")


def test_a_file_in_no_folder_is_refused(workspace: Path, trained: Trained) -> None:
    done = command(workspace, "--baseline", trained.snapshot_id, "--junit", "/nowhere/at/all/gate.xml")
    assert done.returncode == 1
    assert "is no folder" in done.stderr
