"""The command line: exit codes, one clear sentence for every bad input, a machine-readable last line."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from engine.cli import main
from tests.conftest import ROOT, Trained

COMMANDS = (
    "demo",
    "validate",
    "check-judgments",
    "ingest",
    "train",
    "publish",
    "runs",
    "beams",
    "explain",
    "score",
    "status",
    "ablate",
    "judge",
    "import",
    "assign",
    "audit",
)


class Result:
    """What a command left: exit code, output, error output."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> dict:
        return json.loads(self.out.strip().splitlines()[-1])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["engine", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A copy of the committed sample, to be spoiled."""
    return Path(shutil.copytree(ROOT / "data" / "sample", tmp_path / "dataset"))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(run, command: str) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"python -m engine {command}" in result.out.replace("\n", " ")


def test_usage_errors_exit_2(run) -> None:
    assert run("nonsense").code == 2
    assert run("train", "--seed", "x").code == 2


def test_sample_validates_and_ingests(run, tmp_path: Path) -> None:
    assert run("validate", ROOT / "data" / "sample").code == 0
    result = run("ingest", ROOT / "data" / "sample", "--workspace", tmp_path, "--json")
    assert result.code == 0
    assert len(result.json["fingerprint"]) >= 16
    assert "items" in result.out
    status = run("status", "--workspace", tmp_path).out
    assert result.json["fingerprint"][:12] in status
    assert "1 catalogue, 0 runs, 0 snapshots" in " ".join(status.split())
    assert "python -m engine train" in status, "the next step"


def test_read_only_commands_leave_an_empty_workspace_empty(run, tmp_path: Path) -> None:
    workspace = tmp_path / "nothing"
    for command in ("status", "runs"):
        assert run(command, "--workspace", workspace, "--json").code == 0
    for command in (["publish"], ["train"], ["beams", "lamp"], ["score", "lamp"], ["explain", "lamp", "1"]):
        result = run(*command, "--workspace", workspace)
        assert (result.code, result.err.count("\n")) == (1, 1), command
    assert not workspace.exists()


def test_numbers_out_of_range_and_a_file_as_workspace_are_sentences(run, tmp_path: Path) -> None:
    sample, file = ROOT / "data" / "sample", tmp_path / "file"
    file.touch()
    for words, said in (
        (("ingest", sample, "--workspace", tmp_path / "ws", "--max-rejects", "nan"), "allowed: 0 to 1"),
        (("ingest", sample, "--workspace", tmp_path / "ws", "--max-rejects", "-1"), "allowed: 0 to 1"),
        (("status", "--workspace", file), "is a file"),
        (("train", "--workspace", tmp_path / "ws", "--seed", "-1"), "greater than or equal to 0"),
    ):
        result = run(*words)
        assert result.code in (1, 2), words
        assert said in " ".join(result.err.replace("│", " ").split()), words
    assert not (tmp_path / "ws").exists()


def test_ctrl_c_inside_the_database_is_like_any_other(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """DuckDB tells of it as a RuntimeError of its own."""

    def interrupted(*given: object, **named: object) -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr("engine.datasets.ingest.ingest", interrupted)
    result = run("ingest", ROOT / "data" / "sample", "--workspace", tmp_path / "ws")
    assert result.code == 130
    assert "go on with: python -m engine ingest" in " ".join(result.out.split())


def spoil_header(folder: Path) -> None:
    path = folder / "items.csv"
    path.write_text(path.read_text().replace("title", "what", 1))


def spoil_parquet(folder: Path) -> None:
    pd.read_csv(folder / "items.csv", dtype=str).to_parquet(folder / "items.parquet")
    (folder / "items.csv").unlink()
    whole = (folder / "items.parquet").read_bytes()
    (folder / "items.parquet").write_bytes(whole[: len(whole) // 2])


def spoil_grades(folder: Path) -> None:
    frame = pd.read_csv(folder / "judgments.csv", dtype=str)
    frame["grade"] = "good"
    frame.to_csv(folder / "judgments.csv", index=False)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: shutil.rmtree(f), ["does not exist"]),
        (lambda f: (f / "items.csv").unlink(), ["items"]),
        (lambda f: (f / "items.csv").write_text(""), ["items.csv", "empty"]),
        (spoil_header, ["items.csv", "title", "what"]),
        (spoil_parquet, ["items.parquet"]),
        (spoil_grades, ["grade"]),
        (lambda f: (f / "dataset.toml").write_text("name = [1,"), ["dataset.toml"]),
    ],
    ids=["no folder", "no items", "empty file", "missing column", "truncated", "grades as text", "bad toml"],
)  # fmt: skip
def test_bad_input_is_one_sentence(run, dataset: Path, tmp_path: Path, spoil, words: list[str]) -> None:
    spoil(dataset)
    workspace = tmp_path / "workspace"
    result = run("ingest", dataset, "--workspace", workspace)
    assert result.code == 1
    assert "Traceback" not in result.out + result.err
    assert result.err.startswith("Error:")
    for word in words:
        assert word in result.err
    assert not list(workspace.glob("catalogues/*")), "a failed ingest leaves nothing half-written"


def test_full_disk_is_a_sentence(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.datasets import ingest as module

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr(module, "ingest", full)
    result = run("ingest", ROOT / "data" / "sample", "--workspace", tmp_path)
    assert result.code == 1
    assert "the disk is full" in result.err


def test_unknown_preset_method_run_and_item(run, trained: Trained) -> None:
    workspace = ["--workspace", trained.workspace]
    for command, words in (
        (["train", "--preset", "huge"], "allowed: default, demo, paper, tiny"),
        (["train", "--method", "magic"], "allowed: dsirm, tiger, dsi"),
        (["train", "--catalogue", "zzz"], "is unknown; known:"),
        (["publish", "--run", "dsirm-nope"], trained.dsirm_run),
        (["beams", "lamp", "--run", trained.none_run], "has no SIDs"),
        (["beams", "  "], "query is empty"),
        (["assign", ROOT / "data" / "sample", "--run", trained.none_run], "has no SIDs"),
        (["assign", ROOT / "data" / "sample", "--run", "dsirm-nope"], trained.dsirm_run),
        (["explain", "lamp", "no-such-item"], "no-such-item"),
    ):
        result = run(*command, *workspace)
        assert (result.code, "Traceback" in result.err) == (1, False), command
        assert words in result.err.replace("\n", " "), command


def test_live_commands(run, trained: Trained) -> None:
    workspace = ["--workspace", trained.workspace, "--json"]
    beams = run("beams", "<b>running</b> shoes 👟", *workspace)
    assert beams.code == 0
    assert 1 <= len(beams.json["beams"]) <= 5
    ranking = run("score", "running shoes", *workspace).json["scores"]
    assert [r["rank"] for r in ranking] == list(range(1, len(ranking) + 1))
    explained = run("explain", "running shoes", ranking[0]["item_id"], *workspace).json
    assert abs(explained["score"] - explained["reference"] - sum(explained["contributions"].values())) < 1e-6
    assert explained["score"] == pytest.approx(ranking[0]["score"], abs=1e-9)


def test_assign_and_the_beams_that_follow(run, trained: Trained, tmp_path: Path) -> None:
    """In a copy: what is assigned is told in a table, by JSON, and the second time as done."""
    workspace, folder = tmp_path / "ws", tmp_path / "new"
    for name in ("catalogues", "cache", "runs"):
        shutil.copytree(trained.workspace / name, workspace / name)
    folder.mkdir()
    titles = [f"gravity lens {i} of a 👟 <b>comet</b>" for i in range(30)]
    pd.DataFrame({"item_id": [f"n{i}" for i in range(30)], "title": titles}).to_csv(folder / "items.csv", index=False)
    done = run("assign", folder, "--workspace", workspace, "--json")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert (done.json["made"], done.json["generation"]["n_items"]) == (True, 30)
    assert "Assigned 30 items; 0 have a SID already and keep it." in said
    assert "category unknown to the codebook: nearest code 30" in said
    assert "Next: python -m engine publish" in said
    assert ("Train again on a catalogue" in said) == (done.json["generation"]["beyond_p95"] > 0.15)
    twice = run("assign", folder, "--workspace", workspace, "--json")
    assert (twice.code, twice.json["made"], twice.json["generation"]["generation"]) == (0, False, 1)
    assert "assigned before, as generation 1" in " ".join(twice.out.split())
    beams = run("beams", titles[0], "--width", 256, "--workspace", workspace, "--json")
    later = [b for b in beams.json["beams"] if b["n_later"]]
    assert sum(b["n_later"] for b in later) > 0
    assert "trained on" in beams.out


def test_ctrl_c_says_how_to_go_on(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.workspace / "catalogues", tmp_path / "catalogues")
    code = (
        "import sys; from engine import cli, pipeline\n"
        "def stop(*a, **k): raise KeyboardInterrupt\n"
        "pipeline.train = stop\n"
        f"sys.argv = ['engine', 'train', '--workspace', {str(tmp_path)!r}]\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "go on with: python -m engine train" in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stderr


def test_judgments_are_checked_against_a_catalogue(run, dataset: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    run("ingest", dataset, "--workspace", workspace)
    rows = pd.read_csv(dataset / "judgments.csv", dtype=str)
    again = tmp_path / "judgments.csv"
    rows.assign(item_id=["no-such-item", *rows["item_id"][1:]]).to_csv(again, index=False)
    result = run("check-judgments", again, "--workspace", workspace, "--json")
    assert result.code == 0
    assert result.json["report"]["files"][0]["rejected"] == 1
    assert result.json["n_unknown_items"] == 1
    assert result.json["n_judged"] == result.json["n_pairs"]
    assert "is no file" in run("check-judgments", tmp_path / "gone.csv", "--workspace", workspace).err


def test_inspect_says_what_it_is_and_what_to_do_next(run, tmp_path: Path) -> None:
    result = run("inspect", Path("data/sample"), "--json")
    assert result.code == 0
    assert "python -m engine ingest" in result.out
    said = json.loads(result.out.splitlines()[-1])
    assert {f["table"] for f in said["report"]["files"]} == {"items", "queries", "interactions", "judgments"}
    assert said["possible"].startswith("With this: SIDs, codebook, map")
    sids = run("inspect", Path("tests/cases/sid-underscored"))
    assert "python -m engine import" in sids.out
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    refused = run("inspect", tmp_path / "notes.csv")
    assert refused.code == 1
    assert "no items file" in refused.err
