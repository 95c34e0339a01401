"""Files that visitors of the dashboard handed in, each in a folder of its own; never changed, never ingested by themselves.

WORKSPACE/uploads/<YYYYMMDD-HHMMSS>-<first 12 digits of the sha256>/judgments.<ending>
WORKSPACE/uploads/.../upload.json         name as given, sha256, bytes, time
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from engine import leftovers
from engine.errors import DataError
from engine.leftovers import temporary

ALLOWED = "SIDELIGHT_ALLOW_UPLOAD"
"""'1' where the dashboard takes files; `python -m app --allow-upload` sets it."""
ENDINGS = ("csv", "tsv", "json", "jsonl", "parquet", "xlsx")
MOST_MB = 20
MOST_KEPT = 200
"""Uploads of a workspace; more are refused until somebody clears them away."""
UPLOAD_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{12}")
"""No other text becomes a path."""


class Upload(NamedTuple):
    """One file handed in."""

    upload_id: str
    path: Path
    name: str  # As its sender called it, printable and cut.
    sha256: str
    size: int
    received_at: str


def allowed() -> bool:
    """Whether this server takes files."""
    return os.environ.get(ALLOWED) == "1"


def keep(workspace: Path, name: str, data: bytes) -> Upload:
    """Store a file of judgments under its time and hash; the same bytes are kept once.

    Raises DataError for a name without an allowed ending, an empty file, one that is too large, and what the disk refuses.
    """
    ending = name.rpartition(".")[2].casefold()
    if ending not in ENDINGS:
        raise DataError(f"the file's name must end in one of {', '.join('.' + e for e in ENDINGS)}")
    if not 0 < len(data) <= MOST_MB * 2**20:
        raise DataError(f"the file has {len(data):,} bytes; allowed: 1 byte to {MOST_MB} MB")
    digest = hashlib.sha256(data).hexdigest()
    there = uploads(workspace)
    for known in there:
        if known.sha256 == digest and known.path.suffix == f".{ending}":
            return known
    if len(there) >= MOST_KEPT:
        raise DataError(f"{workspace / 'uploads'} holds {len(there)} files already; remove some first")
    now = datetime.now(UTC)
    folder = workspace / "uploads" / f"{now:%Y%m%d-%H%M%S}-{digest[:12]}"
    said = {
        "name": "".join(letter for letter in name if letter.isprintable())[:120],
        "file": f"judgments.{ending}", "sha256": digest, "bytes": len(data), "received_at": now.isoformat(timespec="seconds"),
    }  # fmt: skip
    building = temporary(folder.with_name(f"{folder.name}-{uuid.uuid4().hex[:8]}"))
    try:
        building.mkdir(parents=True)
        (building / f"judgments.{ending}").write_bytes(data)
        (building / "upload.json").write_text(json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8")
        os.rename(building, folder)  # fails where a folder of that name holds files
    except OSError as error:
        raise DataError(f"the file could not be kept in {workspace / 'uploads'}: {error.strerror or error}") from error
    finally:
        leftovers.remove(building)
    return _read(folder)


def uploads(workspace: Path) -> list[Upload]:
    """What was handed in, newest first."""
    found = (workspace / "uploads").glob("*/upload.json")
    folders = sorted((path.parent for path in found if UPLOAD_ID.fullmatch(path.parent.name)), reverse=True)
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> Upload:
    said = json.loads((folder / "upload.json").read_text(encoding="utf-8"))
    return Upload(folder.name, folder / said["file"], said["name"], said["sha256"], said["bytes"], said["received_at"])
