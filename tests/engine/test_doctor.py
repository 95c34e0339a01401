"""`engine doctor` sees what is wrong, says what to do, changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine import leftovers
from engine.cli import app
from engine.cli.options import ROOT
from engine.reporting import doctor
from engine.reporting.doctor import examine
from tests.conftest import Trained


def told(workspace: Path) -> dict[str, doctor.Sign]:
    """The last sign of each kind that is not well."""
    return {sign.what: sign for sign in examine(workspace, ROOT) if sign.state != "well"}


def test_a_sound_workspace_is_well_and_untouched(trained: Trained) -> None:
    before = sorted(path for path in trained.workspace.rglob("*") if path.is_file())
    signs = examine(trained.workspace, ROOT)
    assert {sign.what for sign in signs} >= {"Python", "requirements.txt", "disk", "workspace", "snapshot"}
    assert [sign for sign in signs if sign.state != "well" and sign.what not in ("memory", "disk")] == []
    assert any(trained.snapshot_id in sign.found and "500 items, 2 runs" in sign.found for sign in signs)
    assert sorted(path for path in trained.workspace.rglob("*") if path.is_file()) == before


def corrupt(workspace: Path) -> None:
    (workspace / (workspace / "CURRENT").read_text().strip()).write_bytes(b"no database")


def pruned(workspace: Path) -> None:
    (workspace / (workspace / "CURRENT").read_text().strip()).unlink()


def in_the_future(workspace: Path) -> None:
    at = time.time() + 3600
    os.utime(workspace / (workspace / "CURRENT").read_text().strip(), (at, at))


@pytest.mark.parametrize(
    ("harm", "what", "state", "do"),
    [(corrupt, "snapshot", "bad", "publish"), (pruned, "snapshot", "bad", "publish"), (in_the_future, "clock", "watch", "clock")],
)  # fmt: skip
def test_what_is_wrong_is_named(
    trained: Trained, tmp_path: Path, harm: Callable[[Path], None], what: str, state: str, do: str
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "snapshots").mkdir()
    shutil.copy(trained.workspace / "CURRENT", workspace)
    for file in (trained.workspace / "snapshots").glob("*.duckdb"):
        shutil.copy(file, workspace / "snapshots")
    harm(workspace)
    found = told(workspace)[what]
    assert found.state == state
    assert do in found.do
    done = CliRunner().invoke(app, ["doctor", "--workspace", str(workspace), "--json"])
    assert done.exit_code == (1 if state == "bad" else 0)
    assert any(sign["state"] == state for sign in json.loads(done.stdout.splitlines()[-1])["signs"])


def test_an_empty_place_and_what_was_left(tmp_path: Path) -> None:
    assert "demo" in told(tmp_path / "nowhere")["workspace"].do
    (tmp_path / "snapshots").mkdir()
    leftovers.temporary(tmp_path / "snapshots" / "snap-1.duckdb").write_bytes(bytes(10))
    assert told(tmp_path)["leftovers"].found.startswith("1 temporary file")
    assert told(tmp_path)["snapshot"].found == "nothing is published"


def test_packages_are_held_against_their_pins(tmp_path: Path) -> None:
    for name in doctor.OPTIONAL:
        (tmp_path / name).write_text("not-there==1\n")
    (tmp_path / "requirements.txt").write_text("# pins\ntyper==0.0.1  # old\nno-such-package==1.0\n")
    signs = {sign.what: sign for sign in examine(tmp_path, tmp_path)}
    assert signs["requirements.txt"].state == "bad"
    assert "typer" in signs["requirements.txt"].found
    assert "no-such-package is missing" in signs["requirements.txt"].found
    assert "pip install -r requirements.txt" in signs["requirements.txt"].do
    assert signs[doctor.OPTIONAL[0]].state == "well"


def test_a_full_disk_and_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refused)
    found = told(tmp_path)
    assert "make room" in found["disk"].do
    assert "Permission denied" in found["workspace"].found
