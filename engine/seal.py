"""Checksums of finished files, so that one that a disk or a hand damaged is made anew or told, and never read as sound.

sealed = seal(folder)               # {'stack0/codes.safetensors': 'sha256...'}, kept beside the folder
broken(folder, sealed)              # [] where every file is as it was
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

DIGITS = 32
BLOCK = 1 << 20


def digest(path: Path, *, less: int = 0) -> str:
    """DIGITS hex digits of the sha256 of a file, less so many bytes at its end."""
    found, left = hashlib.sha256(), path.stat().st_size - less
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(BLOCK, left))):
            found.update(block)
            left -= len(block)
    return found.hexdigest()[:DIGITS]


def seal(folder: Path) -> dict[str, str]:
    """The digest of every file in a folder, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def broken(folder: Path, sealed: Mapping[str, str]) -> list[str]:
    """Files that are missing, or are not as they were sealed; files that came later count for nothing."""
    return [name for name, kept in sealed.items() if not (folder / name).is_file() or digest(folder / name) != kept]
