"""Who may look, as Streamlit's secrets state it: nothing here draws, and nothing here knows Streamlit.

    [auth]                       # Streamlit's own section: an OpenID Connect provider
    redirect_uri = "https://sidelight.example.org/oauth2callback"
    cookie_secret = "..."
    client_id = "..."
    client_secret = "..."
    server_metadata_url = "https://login.example.org/.well-known/openid-configuration"

    [allow]                      # ours: who of them gets in
    emails = ["ada@example.org"]
    domains = ["example.org"]

Without [auth] there is no login. Whatever is wrong with the file stops the dashboard before it serves: a list that cannot
be read must not be one that lets everybody in.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ConfigError

IN, ANONYMOUS, EXPIRED, STRANGER = "in", "anonymous", "expired", "stranger"
"""Where somebody stands: to be shown the pages, to be asked to log in, to be asked again, to be turned away."""
DEFAULT = ""
"""The provider that stands in [auth] itself; others have a section [auth.<name>]."""
LEAST_SECRET = 32
"""Letters of a cookie secret: whoever guesses it logs in as anybody."""
MOST_HOURS = 720.0
"""Streamlit's cookie is gone after 30 days."""
_PROVIDER = ("client_id", "client_secret", "server_metadata_url")


@dataclass(frozen=True, kw_only=True)
class Login:
    """The providers, and who of their people gets in."""

    providers: tuple[str, ...]
    """Names for st.login; '' is the one of [auth] itself."""
    emails: frozenset[str] = frozenset()
    """In lower case."""
    domains: frozenset[str] = frozenset()
    """What stands behind the @, in lower case; a subdomain is another domain."""
    everyone: bool = False
    """Whoever the provider lets through."""
    unverified_emails: bool = False
    """Believe an address of which the provider does not say that it was verified (one that says it was not is never believed)."""
    hours: float = 12.0
    """How long a login counts, from when the provider stated it."""

    def __post_init__(self) -> None:
        if not (self.emails or self.domains or self.everyone):
            raise ConfigError(
                "[allow] names nobody: give emails, domains, or everyone = true (all whom the provider lets through)"
            )
        for email in self.emails:
            if email.count("@") != 1 or email.startswith("@") or email.endswith("@"):
                raise ConfigError(f"[allow] emails: '{email}' is no e-mail address")
        for domain in self.domains:
            if "@" in domain or "." not in domain.strip("."):
                raise ConfigError(
                    f"[allow] domains: '{domain}' is no domain; write what stands behind the @, such as example.org"
                )
        if not 0 < self.hours <= MOST_HOURS:
            raise ConfigError(f"[allow] hours={self.hours}; allowed: above 0 to {MOST_HOURS:g}")


def standing(login: Login, user: Mapping[str, Any], now: float) -> str:
    """Where somebody stands. `user`: claims of the identity token as Streamlit keeps them; `now`: seconds since 1970."""
    if user.get("is_logged_in") is not True:
        return ANONYMOUS
    issued = user.get("iat")
    if not isinstance(issued, int | float) or now >= issued + 3600 * login.hours:
        return EXPIRED
    return IN if login.everyone or _listed(login, user) else STRANGER


def _listed(login: Login, user: Mapping[str, Any]) -> bool:
    email = str(user.get("email") or "").strip().lower()
    verified = user.get("email_verified", login.unverified_emails)
    if email.count("@") != 1 or verified not in (True, "true"):  # some providers state it as text
        return False
    return email in login.emails or email.split("@")[1] in login.domains


@functools.cache
def settings(files: tuple[str, ...]) -> Login | None:
    """The login that these files state, later ones winning section by section; None where none has [auth].

    Read once a process: a change needs a restart, and a file that goes away opens nothing. Raises ConfigError.
    """
    secrets: dict[str, Any] = {}
    for name in files:
        path = Path(name)
        if path.is_file():
            try:
                secrets |= tomllib.loads(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"Secrets {path} cannot be read: {error}") from error
    auth, allow = secrets.get("auth"), secrets.get("allow")
    if auth is None:
        if allow is not None:
            raise ConfigError(
                "The secrets have a section [allow] and no [auth]: nobody would be asked who he is (docs/deploy.md)"
            )
        return None
    if not isinstance(auth, dict) or not isinstance(allow, dict):
        raise ConfigError("The secrets have a section [auth] and no [allow]: say who may look (docs/deploy.md)")
    return _login(_providers(auth), allow)


def _providers(auth: dict[str, Any]) -> tuple[str, ...]:
    for name in ("redirect_uri", "cookie_secret"):
        if not isinstance(auth.get(name), str):
            raise ConfigError(f"[auth] has no {name} (docs/deploy.md)")
    if not auth["redirect_uri"].endswith("/oauth2callback"):
        raise ConfigError(f"[auth] redirect_uri='{auth['redirect_uri']}'; it must end in /oauth2callback")
    if len(auth["cookie_secret"]) < LEAST_SECRET:
        raise ConfigError(
            f"[auth] cookie_secret has {len(auth['cookie_secret'])} letters; allowed: {LEAST_SECRET} or more, random ones"
        )
    sections = {name: part for name, part in auth.items() if isinstance(part, dict) and name != "client_kwargs"}
    if not sections or any(name in auth for name in _PROVIDER):
        sections = {DEFAULT: auth, **sections}
    for name, part in sections.items():
        missing = [key for key in _PROVIDER if not isinstance(part.get(key), str)]
        if missing or "_" in name:
            where = f"[auth.{name}]" if name else "[auth]"
            raise ConfigError(
                f"{where} has no {', '.join(missing)} (docs/deploy.md)"
                if missing
                else f"{where}: no underscore in the name"
            )
    return tuple(sections)


def _login(providers: tuple[str, ...], allow: dict[str, Any]) -> Login:
    kinds: dict[str, type | tuple[type, ...]] = {
        "emails": list, "domains": list, "everyone": bool, "unverified_emails": bool, "hours": (int, float)
    }  # fmt: skip
    for name, value in allow.items():
        if name not in kinds:
            raise ConfigError(f"[allow] {name} is unknown; allowed: {', '.join(kinds)}")
        texts = not isinstance(value, list) or all(isinstance(one, str) for one in value)
        if not isinstance(value, kinds[name]) or not texts or (isinstance(value, bool) and name == "hours"):
            raise ConfigError(
                f"[allow] {name}={value}; allowed: {'a list of texts' if kinds[name] is list else 'true, false' if kinds[name] is bool else 'a number'}"
            )
    emails, domains = (frozenset(one.strip().lower() for one in allow.get(name, ())) for name in ("emails", "domains"))
    rest: dict[str, Any] = {name: value for name, value in allow.items() if kinds[name] is not list}
    return Login(providers=providers, emails=emails, domains=domains, **rest)
