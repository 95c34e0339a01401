"""A bad day for a workspace: the disk is full or read-only, the folder was moved, a file damaged, the clock set, two at once."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from safetensors.torch import save_file

from engine import pipeline
from engine.checkpoint import write_checkpoint
from engine.cli import main
from engine.datasets.ingest import load
from engine.errors import DataError, EngineError, RunError, SnapshotError, refused
from engine.leftovers import NODE
from engine.runs import Run, save_arrays, write_arrow, write_text
from engine.runs import Watcher as SilentWatcher
from engine.store.building import RunTables
from engine.store.handles import Handles
from engine.store.snapshot import current_id, list_snapshots, open_snapshot, prune, publish
from tests.conftest import ROOT, Trained, tiny

resource = pytest.importorskip("resource", reason="a limit on the size of files stands for a full disk")

NOBODY = 65_534
LARGE = np.random.default_rng(0).normal(size=(64, 1024)).astype(np.float32)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: the disk refuses in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def workspace(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the trained workspace; a test that damages a file replaces it, so links will do."""
    copied = tmp_path / "workspace"
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, copied / name, copy_function=os.link)
    return copied


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """`engine WORDS`: exit code, and what it said of an error."""

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["engine", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        return code, capsys.readouterr().err

    return call


def published(trained: Trained) -> list[str]:
    """The words that publish the runs of the snapshot that is there, in its order."""
    return ["publish", "--run", trained.none_run, "--run", trained.dsirm_run]


def damage(path: Path, how: str = "flipped") -> None:
    """One byte in the middle is another, or the second half is gone."""
    held = path.read_bytes()
    middle = len(held) // 2
    path.unlink()  # it may have a second name
    path.write_bytes(held[:middle] + (bytes([held[middle] ^ 0x55]) + held[middle + 1 :]) * (how == "flipped"))


# ------------------------------------------------------------- a full disk


def write_index(path: Path) -> None:
    index = faiss.index_factory(LARGE.shape[1], "Flat")
    index.add(LARGE)
    faiss.write_index(index, str(path))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "a" * 100_000),
        lambda path: save_arrays(path, x=LARGE),
        lambda path: save_file({"x": torch.from_numpy(LARGE)}, path),
        lambda path: write_checkpoint(path, "inputs", {"x": torch.from_numpy(LARGE)}),
        lambda path: write_arrow(path.parent, path.name, pa.table({"x": LARGE.ravel()})),
        lambda path: pd.DataFrame({"x": LARGE.ravel()}).to_parquet(path),
        write_index,
    ],
    ids=["text", "arrays", "weights", "checkpoint", "arrow", "frame", "index"],
)
def test_every_library_that_writes_is_understood_when_the_disk_refuses(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    with largest_file(20_000), pytest.raises(Exception) as failed:  # noqa: PT011 - each library has its own
        write(tmp_path / "file")
    assert refused(failed.value) is not None, f"{failed.type}: {failed.value}"


@pytest.mark.parametrize("size", [0, 5_000, 100_000])
def test_a_full_disk_stops_a_publication_and_the_next_one_succeeds(
    size: int, workspace: Path, trained: Trained, engine: Callable[..., tuple[int, str]]
) -> None:
    before = current_id(workspace)
    with largest_file(size):
        code, said = engine(*published(trained), "--workspace", workspace)
    assert (code, before) == (1, current_id(workspace)), said
    assert said.startswith("Error:")
    assert "Traceback" not in said
    assert not list(workspace.rglob("*.tmp"))
    assert engine(*published(trained), "--workspace", workspace)[0] == 0
    assert current_id(workspace) == trained.snapshot_id


@pytest.mark.parametrize("size", [0, 2_000, 50_000])
def test_a_full_disk_stops_an_ingest_and_nothing_is_left(
    size: int, tmp_path: Path, marketplace: Path, engine: Callable[..., tuple[int, str]]
) -> None:
    with largest_file(size):
        code, said = engine("ingest", marketplace, "--workspace", tmp_path)
    assert (code, "Traceback" in said) == (1, False), said
    assert not list(tmp_path.glob("catalogues/*"))


# ------------------------------------------------------------- who may write


@contextlib.contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """Nobody may write into a folder, whoever runs the tests."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if was_root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_workspace_that_may_not_be_written_is_shown_and_every_command_says_so(
    trained: Trained, engine: Callable[..., tuple[int, str]], marketplace: Path
) -> None:
    place = Path(tempfile.mkdtemp())  # pytest's own folders are their owner's alone
    try:
        place.chmod(0o755)
        for name in ("catalogues", "cache", "runs", "snapshots"):
            shutil.copytree(trained.workspace / name, place / name, ignore=shutil.ignore_patterns("leases"))
        shutil.copy(trained.workspace / "CURRENT", place)
        files = shutil.copytree(marketplace, place / "files")
        with nobody(place):
            shown = open_snapshot(place)
            assert shown.cursor().execute("SELECT count(*) FROM items").fetchone() == (500,)
            shown.close()
            assert engine("status", "--workspace", place)[0] == 0
            for words in (("publish",), ("ingest", files), ("train", "--method", "hash", "--preset", "tiny")):
                code, said = engine(*words, "--workspace", place)
                assert (code, "Traceback" in said) == (1, False), said
                assert "ermission" in said or "may not write" in said
    finally:
        shutil.rmtree(place)


# ------------------------------------------------------------- a moved workspace


def test_nothing_refers_to_where_a_workspace_was(workspace: Path, trained: Trained, tmp_path: Path) -> None:
    before = pipeline.publish(workspace, published(trained)[2::2])
    moved = workspace.rename(tmp_path / "elsewhere")
    old = [str(place).encode() for place in (workspace, trained.workspace)]
    named = [path for path in moved.rglob("*") if path.is_file() and any(place in path.read_bytes() for place in old)]
    assert [path for path in named if path.suffix not in (".log", ".lock")] == []
    again = pipeline.train(moved, trained.fingerprint, tiny())
    assert (again.run_id, again.marks) == (trained.dsirm_run, []), "nothing is trained again"
    assert pipeline.publish(moved, published(trained)[2::2]) == before == trained.snapshot_id
    open_snapshot(moved).close()


# ------------------------------------------------------------- damaged files

STAGE_FILES = (
    "runs/{run}/stages/match/matches.safetensors", "runs/{run}/stages/match.json", "runs/{run}/tables/metrics.parquet",
    "runs/{run}/tables/runs.parquet", "runs/{run}/catalogue/items.parquet", "runs/{run}/run.json", "runs/{run}/config.json",
    "runs/{run}/stages/own.shared", "cache/own-*/*.safetensors",
)  # fmt: skip


@pytest.mark.parametrize("how", ["flipped", "cut"])
@pytest.mark.parametrize("name", STAGE_FILES)
def test_a_damaged_file_of_a_run_is_refused_by_name_and_made_anew_by_its_command(
    name: str, how: str, workspace: Path, trained: Trained, engine: Callable[..., tuple[int, str]]
) -> None:
    path = next(workspace.glob(name.format(run=trained.dsirm_run)))
    sound = path.read_bytes()
    damage(path, how)
    code, said = engine(*published(trained), "--workspace", workspace)
    assert "Traceback" not in said
    if code:
        assert trained.dsirm_run in said, "one byte of a manifest may be another checksum, or another setting's name"
        assert re.search("Repeat the 'train' or 'import' command|delete .* and train again", said)
        assert path.suffix == ".json" or str(path) in said
    else:
        assert current_id(workspace) == trained.snapshot_id, "published without what is damaged"
    again = pipeline.train(workspace, trained.fingerprint, tiny())
    assert len([mark for mark in again.marks if not mark.cached]) <= 1, "what is sound is not made again"
    if "safetensors" in name:
        assert path.read_bytes() == sound
    assert engine(*published(trained), "--workspace", workspace) == (0, "")


def test_a_damaged_stage_is_never_read_by_those_who_serve_the_run(workspace: Path, trained: Trained) -> None:
    path = workspace / "runs" / trained.dsirm_run / "stages" / "tokenize" / "stack0" / "codes.safetensors"
    damage(path)
    with pytest.raises(RunError, match=r"codes\.safetensors is damaged"):
        Run.load(workspace, trained.dsirm_run).stage_folder("tokenize")


@pytest.mark.parametrize("how", ["flipped", "cut"])
@pytest.mark.parametrize("name", ["items.parquet", "judgments.parquet", "catalogue.json"])
def test_a_damaged_catalogue_is_a_sentence(name: str, how: str, workspace: Path, trained: Trained) -> None:
    damage(workspace / "catalogues" / trained.fingerprint / name, how)
    with pytest.raises(DataError, match=r"is damaged .*ingest again"):
        load(workspace, trained.fingerprint)


@pytest.mark.parametrize("held", [b"", b"\xff\xfe\0", b"snapshots/snap-gone.duckdb\n", b"../../etc/passwd\n"])
def test_a_damaged_pointer_is_a_sentence_and_mended_by_publishing(
    held: bytes, workspace: Path, trained: Trained, engine: Callable[..., tuple[int, str]]
) -> None:
    pipeline.publish(workspace, published(trained)[2::2])
    (workspace / "CURRENT").write_bytes(held)
    with pytest.raises(EngineError, match=r"publish|is not in"):
        open_snapshot(workspace)
    assert engine("status", "--workspace", workspace)[0] == 0
    assert pipeline.publish(workspace, published(trained)[2::2]) == trained.snapshot_id
    open_snapshot(workspace).close()


@pytest.mark.parametrize("offset", [0, 4_096, 8_192, 12_300, 300_000])
def test_a_damaged_snapshot_is_told_wherever_it_is_and_built_anew(
    offset: int, workspace: Path, trained: Trained, engine: Callable[..., tuple[int, str]]
) -> None:
    pipeline.publish(workspace, published(trained)[2::2])
    path = workspace / "snapshots" / f"{trained.snapshot_id}.duckdb"
    held = bytearray(path.read_bytes())
    for at in range(offset, len(held), 50_000):
        held[at : at + 4_000] = b"\x5a" * 4_000
    path.write_bytes(held)
    handles = Handles()

    def read() -> None:
        with handles.cursor(workspace, trained.snapshot_id) as cursor:
            for table in ("items", "scores", "metrics", "contributions"):
                cursor.execute(f"SELECT * FROM {table}").fetchall()

    with pytest.raises(SnapshotError, match=r"cannot be read|not a Sidelight snapshot"):
        read()
    handles.close()
    code, said = engine("query", "runs", "--workspace", workspace)
    assert (code, "Traceback" in said) == (1, False), said
    assert "ublish it again" in said
    assert pipeline.publish(workspace, published(trained)[2::2]) == trained.snapshot_id
    read()
    handles.close()


# ------------------------------------------------------------- the clock, and two at once


@pytest.fixture
def lamps(tmp_path: Path) -> Callable[[float], str]:
    """Publishes a tiny snapshot of that value, and says its id."""
    catalogue, run = tmp_path / "catalogue", tmp_path / "run"
    catalogue.mkdir()
    run.mkdir()
    pd.DataFrame({"item_id": ["a"], "title": ["lamp"]}).to_parquet(catalogue / "items.parquet")

    def put(value: float) -> str:
        pd.DataFrame({"metric": ["auc"], "segment": ["all"], "value": [value]}).to_parquet(run / "metrics.parquet")
        row = {"dataset": "lamps", "fingerprint": "f00d", "n_items": 1, "derived": ["category"]}
        return publish(tmp_path, snapshot=row, catalogue=catalogue, runs=[RunTables("r", run)])

    return put


def test_a_publication_is_the_newest_though_the_clock_was_set_back(
    tmp_path: Path, lamps: Callable[[float], str]
) -> None:
    ids = [lamps(n) for n in range(3)]
    for n, snapshot_id in enumerate(ids):
        os.utime(tmp_path / "snapshots" / f"{snapshot_id}.duckdb", (time.time() + 1e6 + n,) * 2)
    ids += [lamps(3), lamps(4)]
    assert [info.snapshot_id for info in list_snapshots(tmp_path)] == ids[:1:-1], "the oldest two are pruned"


@pytest.mark.parametrize("jump", [1e6, -1e6], ids=["forward", "back"])
def test_a_clock_that_jumps_breaks_no_living_lease_and_keeps_no_dead_one(
    jump: float, tmp_path: Path, lamps: Callable[[float], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = open_snapshot(tmp_path, lamps(0))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    others = [read.lease.with_name(f"{lamps(1)}--0.{who}.tmp") for who in (f"{dead.pid}-1@{NODE}", "1-1@0123abcd")]
    for lease in others:
        lease.touch()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    for n in range(2, 6):
        lamps(n)
    prune(tmp_path)
    assert read.cursor().execute("SELECT n_items FROM snapshot").fetchone() == (1,)
    assert read.path.is_file()
    assert not any(lease.exists() for lease in others)
    assert len(list_snapshots(tmp_path)) == 4, "three, and the one that is read"


HOLD = (
    "import pathlib, sys, contextlib\nfrom engine.store.held import held\n"
    "with held(pathlib.Path(sys.argv[1]), lambda who: contextlib.nullcontext()): print('held', flush=True); input()"
)


def test_the_second_of_two_engines_says_for_whom_it_waits(workspace: Path, trained: Trained) -> None:
    said: list[str] = []

    class Listening(SilentWatcher):
        def start(self, stage: str, title: str) -> Callable[[int, int], None]:
            said.append(title)
            first.communicate("let go")
            return super().start(stage, title)

    lock = workspace / "runs" / trained.dsirm_run / "run.lock"
    lock.unlink(missing_ok=True)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    done = pipeline.train(workspace, trained.fingerprint, tiny(), Listening())
    assert done.finished
    assert len(said) == 1
    assert said[0].startswith(f"Waiting for process {first.pid} on ")
    assert "at work since 20" in said[0]


def test_two_that_publish_at_once_disturb_neither_each_other_nor_a_reader(
    tmp_path: Path, lamps: Callable[[float], str]
) -> None:
    lamps(0)
    faults: list[BaseException] = []
    catalogue = tmp_path / "catalogue"

    def put(name: str) -> None:
        try:
            folder = tmp_path / name
            folder.mkdir()
            for value in range(8):
                table = pd.DataFrame({"metric": ["auc"], "segment": [name], "value": [float(value // 2)]})
                table.to_parquet(folder / "metrics.parquet")
                row = {"dataset": name, "fingerprint": "f00d", "n_items": 1, "derived": ["category"]}
                publish(tmp_path, snapshot=row, catalogue=catalogue, runs=[RunTables("r", folder)])
        except BaseException as fault:
            faults.append(fault)

    writers = [threading.Thread(target=put, args=(name,)) for name in ("one", "two")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        shown = open_snapshot(tmp_path)
        assert shown.cursor().execute("SELECT count(*) FROM metrics").fetchone() == (1,)
        shown.close()
    for writer in writers:
        writer.join()
    assert faults == []
    assert not list((tmp_path / "snapshots").glob("*.tmp"))
