"""A small OpenID Connect provider on loopback: it logs in whomever the test names, and lies where the test asks it to.

with provide() as provider:
    provider.claims = {"email": "ada@example.org", "email_verified": True}
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from flask import Flask, redirect, request
from joserfc import jwt
from joserfc.jwk import RSAKey
from werkzeug import Response
from werkzeug.serving import make_server

CLIENT, CLIENT_SECRET = "sidelight", "s3cret-of-the-client"


class Provider:
    """What it says of whoever comes, and how it misbehaves."""

    def __init__(self) -> None:
        self.url = ""
        self.claims: dict[str, Any] = {}
        self.wrong_state = False
        """Send the browser back with a state that nobody gave out."""
        self.wrong_key = False
        """Sign with a key that is not among the published ones."""
        self.asked = 0
        """How often somebody was sent here."""
        self._key, self._other = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))
        self._nonces: dict[str, str] = {}

    def token(self, code: str) -> str:
        """The signed identity of whoever came with that code."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "42", "iat": now, "exp": now + 3600, **self.claims}
        claims["nonce"] = self._nonces.pop(code)
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._other if self.wrong_key else self._key)

    def app(self) -> Flask:
        """The endpoints that OpenID Connect Discovery names."""
        app = Flask("provider")

        @app.get("/.well-known/openid-configuration")
        def configuration() -> dict[str, Any]:
            names = {
                "authorization_endpoint": "authorize",
                "token_endpoint": "token",
                "jwks_uri": "jwks",
                "end_session_endpoint": "logout",
            }
            return {"issuer": self.url, **{name: f"{self.url}/{path}" for name, path in names.items()},
                    "id_token_signing_alg_values_supported": ["RS256"], "response_types_supported": ["code"],
                    "subject_types_supported": ["public"]}  # fmt: skip

        @app.get("/authorize")
        def authorize() -> Response:
            self.asked += 1
            code = secrets.token_urlsafe(16)
            self._nonces[code] = request.args["nonce"]
            state = "nobody-gave-this-out" if self.wrong_state else request.args["state"]
            return redirect(f"{request.args['redirect_uri']}?{urlencode({'code': code, 'state': state})}")

        @app.post("/token")
        def token() -> dict[str, Any]:
            return {"access_token": "opaque", "token_type": "Bearer", "id_token": self.token(request.form["code"])}

        @app.get("/jwks")
        def jwks() -> dict[str, Any]:
            return {"keys": [self._key.as_dict(private=False)]}

        @app.get("/logout")
        def logout() -> Response:
            return redirect(request.args["post_logout_redirect_uri"])

        return app


@contextlib.contextmanager
def provide() -> Iterator[Provider]:
    """A provider on a free port of 127.0.0.1, until the block ends."""
    provider = Provider()
    server = make_server("127.0.0.1", 0, provider.app(), threaded=True)
    provider.url = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
