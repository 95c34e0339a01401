"""Kill it anywhere: SIGKILL at random points of every command that writes, then the same command again, to its end.

    python -m tests.soak kills --times 200 --seed 1
    python -m tests.soak kills --times 20 --only publish,assign

Half of the kills fall after a uniformly drawn share of the uninterrupted command's time, half just before a uniformly
drawn change of a file (rename, removal, new folder, opening for writing), where the dangerous moments are. After the
kill `engine status` must answer; the command repeated must end well and leave what the uninterrupted one leaves, row by
row; no temporary name may be left; and a reader that opens CURRENT again and again beside all that, and holds one
snapshot open throughout, must never see an error or half a run. Steps and blocks are made small, so that kills fall
into checkpoints and between blocks; half of the kills of `ablate` spare its workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tests.soak import killing
from tests.soak.same import differences, leftovers

TRAINED = (
    "--preset", "tiny", "--seed", "0", "--no-map", "--set", "quantizer.steps=120",
)  # fmt: skip
BLOCK = 16
"""Queries an answer block, instead of 512."""
WEIGHTS = {
    "ingest": 30,
    "train": 34,
    "answer": 30,
    "publish": 30,
    "assign": 26,
    "import": 20,
    "judge": 20,
    "ablate": 10,
}
"""How many of 200 kills fall on each command."""
DRAWS = 6
"""Of a point, until the command is killed before it ends."""


class Case(NamedTuple):
    """A command and the workspace that it begins with."""

    name: str
    words: tuple[str, ...]
    base: Path
    expected: Path  # The workspace as the uninterrupted command leaves it.
    seconds: float
    changes: int


@dataclasses.dataclass
class Told:
    """The row of one command."""

    kills: int = 0
    equal: int = 0
    left: int = 0
    broken_reader: int = 0
    faults: list[str] = dataclasses.field(default_factory=list)


class Soak:
    """Folders, and the commands in them."""

    def __init__(self, root: Path) -> None:
        self.root, self.log = root, root / "log.txt"
        self.scratch = root / "scratch"
        self.scratch.mkdir(parents=True)
        tempfile.tempdir = os.environ["TMPDIR"] = str(self.scratch)

    def command(self, words: tuple[str, ...], workspace: Path, **kill: object) -> killing.Ended:
        """`engine WORDS` on a workspace."""
        return killing.run((*words, "--workspace", str(workspace)), workspace, self.log, **kill)  # type: ignore[arg-type]

    def must(self, words: tuple[str, ...], workspace: Path) -> killing.Ended:
        """The same, uninterrupted and successful."""
        done = self.command(words, workspace)
        assert done.code == 0, f"engine {' '.join(words)}: exit code {done.code}; see {self.log}"
        return done

    def case(self, name: str, words: tuple[str, ...], base: Path) -> Case:
        """Run a command uninterrupted: what it leaves, how long it takes, how many files it changes."""
        expected = Path(shutil.copytree(base, self.root / "expected" / name))
        done = self.must(words, expected)
        return Case(name, words, base, expected, done.seconds, done.changes)

    def kill(self, case: Case, draw: random.Random, told: Told) -> None:
        """One kill of a command, at a point drawn again where the command ended before."""
        for _ in range(DRAWS):
            if self._kill(case, draw, told):
                return

    def _kill(self, case: Case, draw: random.Random, told: Told) -> bool:
        """The kill, the same command again, and a look at everything; False where the command ended before."""
        workspace = self.root / "workspace"
        shutil.rmtree(workspace, ignore_errors=True)
        shutil.copytree(case.base, workspace)
        with self._reader(workspace) as errors:
            point = self._killed(case, workspace, draw)
            if point is None:
                return False
            told.kills += 1
            faults = []
            if (status := self.command(("status",), workspace)).code:
                faults.append(f"status: exit code {status.code}")
            if (again := self.command(case.words, workspace)).code:
                faults.append(f"again: exit code {again.code}")
        report = self.root / "found.json"

        def look() -> int:
            found = [differences(case.expected, workspace), leftovers(workspace, self.scratch)]
            report.write_text(json.dumps(found))
            return 0

        assert killing.in_child(look, self.log) == 0, f"see {self.log}"
        unequal, left = json.loads(report.read_text())
        for path in self.scratch.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        told.equal += not unequal and not faults
        told.left += bool(left)
        told.broken_reader += bool(errors)
        told.faults += [f"{case.name} {point}: {fault}" for fault in [*faults, *unequal[:6], *left[:6], *errors[:3]]]
        return True

    def _killed(self, case: Case, workspace: Path, draw: random.Random) -> str | None:
        """Kill the command at a drawn point; the point in words, None where the command ended before."""
        whole = case.name != "ablate" or draw.random() < 0.5
        if draw.random() < 0.5 and case.changes:
            number = draw.randint(1, case.changes)
            done = self.command(case.words, workspace, before_change=number, whole_group=whole)
            point = f"before change {number} of {case.changes}"
        else:
            share = draw.random()
            done = self.command(case.words, workspace, after=share * case.seconds, whole_group=whole)
            point = f"after {share * case.seconds:.2f} of {case.seconds:.2f} s"
        return point + ("" if whole else ", workers spared") if done.code < 0 else None

    @contextmanager
    def _reader(self, workspace: Path) -> Iterator[list[str]]:
        """Somebody who looks at the dashboard; its errors are in the list afterwards."""
        said = self.root / "reader.txt"
        said.unlink(missing_ok=True)
        errors: list[str] = []
        with killing.beside(lambda stopped: read(workspace, said, stopped), self.log):
            yield errors
        errors += said.read_text().splitlines() if said.is_file() else ["the reader never read"]


def read(workspace: Path, said: Path, stopped: Callable[[], bool]) -> int:
    """Open CURRENT again and again; hold the first snapshot open all along. What goes wrong is a line of `said`."""
    from engine.store.snapshot import Snapshot, open_snapshot

    def look(snapshot: Snapshot) -> None:
        with snapshot.cursor() as cursor:
            found = cursor.execute("SELECT snapshot_id FROM snapshot").fetchall()
            assert found == [(snapshot.snapshot_id,)], f"{snapshot.snapshot_id} calls itself {found}"
            row = cursor.execute(
                "SELECT (SELECT count(*) FROM items), (SELECT count(*) FROM runs), "
                "(SELECT count(DISTINCT run_id) FROM sids), (SELECT count(*) FROM runs WHERE method <> 'none')"
            ).fetchone()
            assert row, "no row"
            assert row[0] > 0, "no items"
            assert row[1] > 0, "no runs"
            assert row[2] == row[3], f"SIDs of {row[2]} runs of {row[3]}"

    with said.open("w") as errors:
        held = open_snapshot(workspace)
        while not stopped():
            try:
                now = open_snapshot(workspace)
                try:
                    look(now)
                finally:
                    now.close()
                look(held)
                held.heartbeat()
            except Exception as error:
                errors.write(f"reader: {error!r}\n")
                errors.flush()
            time.sleep(0.05)
        held.close()
    return 0


def prepared(soak: Soak, url: str, only: set[str]) -> list[Case]:
    """The files, a published workspace, and every command uninterrupted."""
    root = soak.root
    files, new, foreign = root / "files", root / "new", [root / "foreign", root / "more"]

    def written() -> int:
        from engine.datasets.marketplace import write_marketplace
        from tests.imported_files import write_files

        write_marketplace(files, n_items=300, seed=0)
        write_files(foreign[0])
        write_files(foreign[1], log_prob=False, without=False)
        new.mkdir()
        items = pd.read_parquet(files / "items.parquet", columns=["item_id", "title", "category", "seller"]).iloc[::6]
        items.assign(item_id="new-" + items["item_id"]).to_csv(new / "items.csv", index=False)
        return 0

    assert killing.in_child(written, soak.log) == 0, f"see {soak.log}"
    shown = root / "shown"
    shown.mkdir()
    soak.must(("import", str(foreign[0]), "--no-map"), shown)
    soak.must(("publish",), shown)
    ingested = soak.case("ingest", ("ingest", str(files)), shown)
    learn = ("train", "--method", "dsirm", *TRAINED)
    trained = soak.case("train", learn, ingested.expected)
    cases = [ingested, trained]
    if only & {"answer"}:
        half = Path(shutil.copytree(trained.expected, root / "half"))
        (run,) = (path for path in (half / "runs").glob("dsirm-*"))
        for name in ("answer", "evaluate", "audit"):
            shutil.rmtree(run / "stages" / name)
            (run / "stages" / f"{name}.json").unlink()
        for place in ("tables", "catalogue"):
            shutil.rmtree(run / place)
        (run / "run.json").unlink()
        cases.append(soak.case("answer", learn, half))
    if only & {"publish"}:
        both = Path(shutil.copytree(trained.expected, root / "both"))
        soak.must(("train", "--method", "none", *TRAINED[:5]), both)
        cases.append(soak.case("publish", ("publish",), both))
    if only & {"assign"}:
        cases.append(soak.case("assign", ("assign", str(new)), trained.expected))
    if only & {"import"}:
        cases.append(soak.case("import", ("import", str(foreign[1])), shown))
    if only & {"judge"}:
        asked = ("judge", "--endpoint", url, "--model", "m", "--sample", "80", "--parallel", "4")
        cases.append(soak.case("judge", asked, ingested.expected))
    if only & {"ablate"}:
        warmed = Path(shutil.copytree(ingested.expected, root / "warmed"))
        shutil.copytree(trained.expected / "cache", warmed / "cache", dirs_exist_ok=True)
        plan = ("ablate", "--methods", "none,hash", "--seeds", "1", "--preset", "tiny", "--workers", "2", "--yes")
        cases.append(soak.case("ablate", plan, warmed))
    return [case for case in cases if case.name in only]


def judge(said: Path, stopped: Callable[[], bool]) -> int:
    """A language model that grades by the length of the title; its address is written to `said`."""
    from tests.engine.judge_server import JudgeServer, graded

    with JudgeServer(lambda asked: graded(len(asked.pair[1]) % 4, wait=0.01)) as server:
        said.write_text(server.url)
        while not stopped():
            time.sleep(0.05)
    return 0


def shares(times: int, only: set[str]) -> dict[str, int]:
    """How many kills each command gets, `times` in all."""
    total, given, sum_so_far = sum(WEIGHTS[name] for name in only), {}, 0
    for name in (name for name in WEIGHTS if name in only):
        before = round(times * sum_so_far / total)
        sum_so_far += WEIGHTS[name]
        given[name] = round(times * sum_so_far / total) - before
    return given


def main(argv: list[str]) -> int:
    """Prints a row a command, and every fault."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak kills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=200, help="kills in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(WEIGHTS), help="commands, comma-separated")
    parser.add_argument("--keep", type=Path, help="a new folder for everything, kept afterwards")
    given = parser.parse_args(argv)
    only = set(given.only.split(","))
    if unknown := only - WEIGHTS.keys():
        parser.error(f"--only {', '.join(sorted(unknown))}; allowed: {', '.join(WEIGHTS)}")
    killing.warm()
    from engine.answering import batch

    assert batch.answer_all.__kwdefaults__ is not None
    batch.answer_all.__kwdefaults__["block"] = BLOCK
    root = Path(given.keep or tempfile.mkdtemp(prefix="soak-kills-")).resolve()
    soak, draw = Soak(root), random.Random(given.seed)
    told: dict[str, Told] = {}
    try:
        address = root / "address.txt"
        with killing.beside(lambda stopped: judge(address, stopped), soak.log):
            while not address.is_file():
                time.sleep(0.01)
            cases = prepared(soak, address.read_text(), only)
            for case in cases:
                told[case.name] = Told()
                for _ in range(shares(given.times, only)[case.name]):
                    soak.kill(case, draw, told[case.name])
                print(f"{case.name}: {told[case.name].kills} kills", flush=True)
    finally:
        if given.keep is None and not any(one.faults for one in told.values()):
            shutil.rmtree(root)
    print(
        f"\nSeed {given.seed}.\n\n| command | takes, s | changes of files | kills | resumed equal | leftovers | reader broken |"
    )
    print("|---|---|---|---|---|---|---|")
    for case in cases:
        one = told[case.name]
        row = (case.name, f"{case.seconds:.1f}", case.changes, one.kills, one.equal, one.left, one.broken_reader)
        print(f"| {' | '.join(map(str, row))} |")
    faults = [fault for one in told.values() for fault in one.faults]
    print("\n".join(["", *faults]))
    return int(bool(faults))
