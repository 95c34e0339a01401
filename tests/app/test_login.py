"""Who gets in, from claims and secrets alone. The real login: tests/browser/test_login.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.login import ANONYMOUS, EXPIRED, IN, STRANGER, Login, settings, standing
from engine.errors import ConfigError
from tests.conftest import ROOT

LOGIN = Login(providers=("",), emails=frozenset({"ada@example.org"}), domains=frozenset({"example.com"}), hours=2)
USER = {"is_logged_in": True, "email": "ada@example.org", "email_verified": True, "iat": 1_000_000}
NOW = 1_000_000 + 7_199
AUTH = {
    "redirect_uri": '"http://localhost:8501/oauth2callback"',
    "cookie_secret": f'"{"x" * 32}"',
    "client_id": '"c"',
    "client_secret": '"s"',
    "server_metadata_url": '"https://login.example.org/.well-known/openid-configuration"',
}


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({}, IN),
        ({"email": "ADA@Example.ORG "}, IN),
        ({"email": "bob@example.com"}, IN),
        ({"email": "bob@sub.example.com"}, STRANGER),
        ({"email": "bob@notexample.com"}, STRANGER),
        ({"email": "bob@example.com@evil.org"}, STRANGER),
        ({"email": "ada@example.org.evil.org"}, STRANGER),
        ({"email": None}, STRANGER),
        ({"email_verified": False}, STRANGER),
        ({"email_verified": "true"}, IN),
        ({"email_verified": "false"}, STRANGER),
        ({"email_verified": None}, STRANGER),
        ({"is_logged_in": False}, ANONYMOUS),
        ({"is_logged_in": "yes"}, ANONYMOUS),
        ({"iat": NOW - 7_200}, EXPIRED),
        ({"iat": None}, EXPIRED),
    ],
)
def test_where_somebody_stands(changed: dict[str, Any], where: str) -> None:
    assert standing(LOGIN, {**USER, **changed}, NOW) == where


def test_what_a_provider_does_not_say() -> None:
    silent = {name: value for name, value in USER.items() if name != "email_verified"}
    assert standing(LOGIN, {}, NOW) == ANONYMOUS
    assert standing(LOGIN, silent, NOW) == STRANGER
    trusting = Login(providers=("",), emails=LOGIN.emails, unverified_emails=True)
    assert standing(trusting, silent, NOW) == IN
    assert standing(trusting, {**USER, "email_verified": False}, NOW) == STRANGER
    everybody = Login(providers=("",), everyone=True)
    assert standing(everybody, {"is_logged_in": True, "iat": NOW}, NOW) == IN


def written(folder: Path, auth: dict[str, str] | None, allow: str | None, rest: str = "") -> tuple[str, ...]:
    file = folder / "secrets.toml"
    sections = [] if auth is None else ["[auth]", *(f"{name} = {value}" for name, value in auth.items())]
    sections += [] if allow is None else ["[allow]", allow]
    file.write_text("\n".join([*sections, rest]))
    return (str(folder / "absent.toml"), str(file))


def test_secrets_are_read(tmp_path: Path) -> None:
    found = settings(written(tmp_path, AUTH, 'emails = [" Ada@Example.org"]\nhours = 8'))
    assert found == Login(providers=("",), emails=frozenset({"ada@example.org"}), hours=8)


def test_several_providers(tmp_path: Path) -> None:
    shared = {name: AUTH[name] for name in ("redirect_uri", "cookie_secret")}
    own = "\n".join(f"{name} = {value}" for name, value in AUTH.items() if name not in shared)
    found = settings(written(tmp_path, shared, "everyone = true", f"[auth.work]\n{own}\n[auth.home]\n{own}"))
    assert found is not None
    assert found.providers == ("work", "home")


def test_without_auth_there_is_no_login(tmp_path: Path) -> None:
    assert settings((str(tmp_path / "absent.toml"),)) is None
    assert settings(written(tmp_path, None, None, "[other]\nkey = 1")) is None


def test_a_file_that_goes_away_opens_nothing(tmp_path: Path) -> None:
    files = written(tmp_path, AUTH, "everyone = true")
    assert settings(files) is not None
    Path(files[1]).unlink()
    assert settings(files) is not None


@pytest.mark.parametrize(
    ("auth", "allow", "said"),
    [
        (AUTH, None, "no [allow]"),
        (None, "everyone = true", "no [auth]"),
        (AUTH, "", "names nobody"),
        (AUTH, "everyone = false", "names nobody"),
        (AUTH, "emails = []", "names nobody"),
        (AUTH, 'emails = "ada@example.org"', "a list of texts"),
        (AUTH, "emails = [3]", "a list of texts"),
        (AUTH, 'emails = ["example.org"]', "is no e-mail address"),
        (AUTH, 'domains = ["@example.org"]', "is no domain"),
        (AUTH, 'domains = [""]', "is no domain"),
        (AUTH, 'everyone = "yes"', "true, false"),
        (AUTH, "everyone = true\nhours = 1000", "above 0 to 720"),
        (AUTH, "everyone = true\nhours = true", "a number"),
        (AUTH, 'mails = ["ada@example.org"]', "mails is unknown; allowed: emails"),
        ({**AUTH, "cookie_secret": '"short"'}, "everyone = true", "32 or more"),
        ({**AUTH, "redirect_uri": '"http://localhost:8501/"'}, "everyone = true", "/oauth2callback"),
        ({name: AUTH[name] for name in AUTH if name != "client_id"}, "everyone = true", "has no client_id"),
        ({name: AUTH[name] for name in AUTH if name != "cookie_secret"}, "everyone = true", "has no cookie_secret"),
    ],
)
def test_wrong_secrets_let_nobody_in(tmp_path: Path, auth: dict[str, str] | None, allow: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(written(tmp_path, auth, allow))
    assert said in str(error.value)


def test_the_documented_secrets_are_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8").split("## Login", 1)[1]
    block = text.split("```toml\n", 1)[1].split("```", 1)[0].replace("<64 random hex digits>", "0f" * 32)
    (tmp_path / "secrets.toml").write_text(block)
    found = settings((str(tmp_path / "secrets.toml"),))
    assert found == Login(
        providers=("",), emails=frozenset({"ada@example.org"}), domains=frozenset({"example.com"}), hours=12
    )
