"""Where everything is kept, and the variable's former name."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError, RunError, shown
from engine.runs import Run
from engine.store.workspace import DEFAULT, from_environment, run_folder


def test_the_variable_names_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDSCOPE_WORKSPACE", raising=False)
    monkeypatch.delenv("SIDELIGHT_WORKSPACE", raising=False)
    assert from_environment() == DEFAULT
    monkeypatch.setenv("SIDELIGHT_WORKSPACE", "/somewhere")
    assert from_environment() == Path("/somewhere")


def test_the_former_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIDELIGHT_WORKSPACE", raising=False)
    monkeypatch.setenv("SIDSCOPE_WORKSPACE", "/somewhere")
    with pytest.raises(ConfigError, match=r"SIDSCOPE_WORKSPACE is not read any more.*SIDELIGHT_WORKSPACE=/somewhere"):
        from_environment()
    monkeypatch.setenv("SIDELIGHT_WORKSPACE", "/elsewhere")
    assert from_environment() == Path("/elsewhere")


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        ".",
        "..",
        "../runs/dsirm-x",
        "a/b",
        "a\\b",
        "/etc",
        "dsirm-x\0",
        "dsirm-x\n",
        "r" * 5_000,
        "dsirm-\ud800",
        "-x",
        "é",
    ],
)
def test_only_an_id_names_a_run(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "runs" / "dsirm-x").mkdir(parents=True)
    (tmp_path / "runs" / "dsirm-x" / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"is not in .*runs: an id reads") as refused:
        Run.load(tmp_path, wanted)
    assert len(str(refused.value)) < 300 + len(str(tmp_path))
    assert str(refused.value).isprintable()
    assert run_folder(tmp_path, "dsirm-no_x-0123") == tmp_path / "runs" / "dsirm-no_x-0123"


def test_what_is_shown_of_a_long_or_unprintable_text() -> None:
    assert shown("snap-1") == "snap-1"
    assert shown("é💡\0\n\ud800") == "é💡\\x00\\n\\ud800"
    assert shown("a" * 81) == "a" * 80 + "…"
