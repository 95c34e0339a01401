"""Where everything is kept, and the variable's former name."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.store.workspace import DEFAULT, from_environment


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
