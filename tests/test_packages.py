"""What is made of a report of pip-audit."""

from __future__ import annotations

from typing import Any

import pytest

from tests import packages

AUDITED = {
    "dependencies": [
        {"name": "alpha", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]},
        {"name": "beta", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": ["2.1", "3.0"]}]},
        {"name": "gamma", "skip_reason": "could not be audited"},
    ]
}


@pytest.mark.parametrize(("without", "code"), [((), 1), (("beta",), 0), (("alpha", "beta"), 0)])
def test_only_what_can_be_mended_fails(
    without: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = {"dependencies": [one for one in AUDITED["dependencies"] if one["name"] not in without]}
    answers: dict[str, Any] = {
        "pip_audit": report,
        "piplicenses": [{"Name": name, "License": "MIT"} for name in ("Zeta", "eta")],
    }
    monkeypatch.setattr(packages, "tool", lambda name, *_: answers[name])
    assert packages.main() == code
    said = capsys.readouterr().out
    assert "MIT: eta, Zeta" in said
    assert ("beta 2.0: PYSEC-2, take 2.1 or 3.0" in said) == ("beta" not in without)
    assert ("alpha 1.0: PYSEC-1, no version mends it yet" in said) == ("alpha" not in without)
    assert f"{2 - len(without)} of {3 - len(without)} packages" in said


def test_a_tool_that_says_nothing_is_quoted() -> None:
    with pytest.raises(RuntimeError, match="No module named"):
        packages.tool("no_such_module")
