"""What the gate compares: two runs of one catalogue, read from their snapshots and matched query by query.

    python -m engine audit --baseline pinned --fail-on act

Both snapshots are opened read-only and leased while they are read; the decisions are those of `engine/audit/gate.py`.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from engine.audit.gate import Verdict, conclude, decide, decide_findings
from engine.audit.gate_config import GateConfig, gate_config
from engine.errors import ConfigError, RunError, SnapshotError, shown
from engine.reporting.gate_measures import Side, changes
from engine.store.snapshot import SNAPSHOT_ID, Snapshot, list_snapshots, open_snapshot, pin

PINNED = "pinned"
"""As a baseline: the newest snapshot that is pinned."""


class Audit(NamedTuple):
    """The outcome, what was compared and by which rules."""

    verdict: Verdict
    run: Side
    baseline: Side
    rules: GateConfig


def read_rules(path: Path | None) -> GateConfig:
    """The rules in section [gate] of a TOML file; the defaults without one. Raises ConfigError with the file's name."""
    if path is None:
        return GateConfig()
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(settings.get("gate"), dict):
        raise ConfigError(f"{path} has no section [gate]; docs/gate.md shows one")
    try:
        return gate_config(settings["gate"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def compare(
    workspace: Path,
    baseline: str,
    rules: GateConfig,
    *,
    snapshot_id: str | None = None,
    run_id: str | None = None,
    pin_baseline: bool = False,
) -> Audit:
    """Hold a run (the current snapshot's own choice by default) against a baseline.

    `baseline`: a run id, a snapshot id, 'snap-...:run', or 'pinned'. Raises SnapshotError, RunError, or ConfigError where
    the two are of different catalogues.
    """
    with _opened(workspace, snapshot_id) as now:
        side = _side(now, run_id)
        other_id, other_run = _find_baseline(workspace, baseline, now)
        with _opened(workspace, other_id) as before:
            if pin_baseline:
                pin(workspace, before.snapshot_id)
            other = _side(before, other_run)
            if side.fingerprint != other.fingerprint:
                raise ConfigError(
                    f"{other.name} is of another catalogue ('{other.dataset}', {other.fingerprint[:12]}) than {side.name} "
                    f"('{side.dataset}', {side.fingerprint[:12]}): queries, items and judgments differ, so nothing can be paired. "
                    "Train the baseline's method on this catalogue, publish and pin it, and compare with that."
                )
            found = changes(now, side, before, other, rules)
            checks = [decide(change, getattr(rules, change.measure), rules) for change in found]
            if rules.findings:
                checks += decide_findings(_findings(now, side), _findings(before, other), rules)
    return Audit(conclude(checks, rules), side, other, rules)


@contextlib.contextmanager
def _opened(workspace: Path, snapshot_id: str | None) -> Iterator[Snapshot]:
    snapshot = open_snapshot(workspace, snapshot_id)
    try:
        yield snapshot
    finally:
        snapshot.close()


def _find_baseline(workspace: Path, baseline: str, now: Snapshot) -> tuple[str, str | None]:
    """(snapshot, run or None for the snapshot's own choice). A run is looked for in the compared snapshot, then in the
    newest other one that holds it."""
    found = list_snapshots(workspace)
    if baseline == PINNED:
        kept = [info.snapshot_id for info in found if info.pinned and info.snapshot_id != now.snapshot_id]
        if not kept:
            raise SnapshotError(
                f"No other snapshot of {workspace} is pinned. Pin one: 'python -m engine publish --pin', or name it with --baseline and add --pin."
            )
        return kept[0], None
    snapshot, _, run = baseline.partition(":")
    if SNAPSHOT_ID.fullmatch(snapshot):
        return snapshot, run or None
    for snapshot_id in (now.snapshot_id, *(info.snapshot_id for info in found)):
        with contextlib.suppress(SnapshotError), _opened(workspace, snapshot_id) as one:  # of another schema
            if one.cursor().execute("SELECT 1 FROM runs WHERE run_id = ?", [baseline]).fetchone():
                return snapshot_id, baseline
    known = ", ".join(info.snapshot_id for info in found)
    raise RunError(
        f"Baseline '{shown(baseline)}' is no run of any snapshot of {workspace}, and no snapshot; there are {known}. "
        "A run must be published to be compared: 'python -m engine publish --run ...'."
    )


def _side(snapshot: Snapshot, run_id: str | None) -> Side:
    """Raises RunError where the snapshot has no such run."""
    cursor = snapshot.cursor()
    about = cursor.execute("SELECT fingerprint, dataset, relevant_grade, default_run FROM snapshot").fetchone()
    assert about is not None
    runs = cursor.execute("SELECT run_id, levels, beam_width FROM runs ORDER BY run_id").df()
    chosen = runs[runs["run_id"] == (run_id or about[3])]
    if chosen.empty:
        raise RunError(
            f"Run '{shown(run_id or str(about[3]))}' is not in {snapshot.snapshot_id}; it holds {', '.join(runs['run_id'])}."
        )
    row = chosen.iloc[0]
    levels, width = (None if pd.isna(row[name]) else int(row[name]) for name in ("levels", "beam_width"))
    pinned = snapshot.path.with_suffix(".pinned").exists()
    return Side(snapshot.snapshot_id, str(row["run_id"]), about[0], about[1], about[2], levels, width, pinned)


def _findings(snapshot: Snapshot, side: Side) -> pd.DataFrame:
    sql = "SELECT kind, member, severity, title, detail, params FROM findings WHERE run_id = ? ORDER BY position"
    return snapshot.cursor().execute(sql, [side.run_id]).df()
