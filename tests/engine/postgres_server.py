"""A throwaway PostgreSQL on loopback, with a password."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PASSWORD = "pa55/w@rd:%#"
"""With every letter that has a meaning in a URL."""


class PostgresMissingError(Exception):
    """No PostgreSQL is installed here."""


def binaries() -> Path:
    """The folder of `initdb` and `pg_ctl`. Raises PostgresMissingError."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in reversed(folders):
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise PostgresMissingError("no PostgreSQL found: install the package postgresql, or put initdb on PATH")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """'user@127.0.0.1:PORT/database' of a fresh server, whose password is `PASSWORD`; it is gone afterwards."""
    folder = binaries()
    who: dict[str, Any] = {}
    base = Path(tempfile.mkdtemp(prefix="sidelight-postgres-"))
    if os.geteuid() == 0:  # initdb refuses root
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(base, user.pw_uid, user.pw_gid)
    data, log = base / "data", base / "log"

    def call(*command: object) -> None:
        done = subprocess.run(
            list(map(str, command)), cwd=base, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120,
            check=False, **who,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[0]}: {done.stderr}{log.read_text() if log.exists() else ''}"

    secret = base / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    try:
        call(folder / "initdb", "-D", data, "-U", "shop", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync",
             "-E", "UTF8", "--locale=C")  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        call(folder / "pg_ctl", "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"shop@127.0.0.1:{port}/postgres"
        finally:
            call(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(base, ignore_errors=True)
