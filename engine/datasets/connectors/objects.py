"""Object stores: the files of a folder at any URL of fsspec (s3://, gs://, memory://, https:// ...), copied in pieces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from engine.datasets.connectors.address import Address
from engine.datasets.connectors.failures import told
from engine.datasets.connectors.optional import missing, store_package
from engine.datasets.contract import COLUMNS
from engine.errors import DataError
from engine.progress import Progress, silent

_PIECE = 4 << 20
_MEGABYTE = 1 << 20
_TABLES = {name for table in COLUMNS for name in (table, f"{table}.parquet")}
"""Directories that may hold the parts of one table."""


class _Remote(NamedTuple):
    path: str  # As the store names it.
    name: str  # Relative to the folder, '/' between directories.
    size: int  # Bytes; 0 where the store does not tell.


def copy_files(place: Address, folder: Path, progress: Progress = silent, *, everything: bool = False) -> None:
    """Copies what a dataset is made of: the files of a folder and of its directories `items/`, `judgments.parquet/` ...;
    `everything` copies all of it, for adapters. A URL of one file copies that.

    Raises DataError where the package for the URL is missing, nothing is there, access is refused, the disk is too
    small, and a name would leave the folder; OSError where the disk refuses.
    """
    store, root = _open(place)
    files = _chosen(place, _listed(place, store, root), everything)
    total, free = sum(file.size for file in files), shutil.disk_usage(folder).free
    if total > free:
        raise DataError(
            f"{place.public} holds {total / 1e9:,.1f} GB to copy; the disk of {folder} has {free / 1e9:,.1f} GB left"
        )
    done = 0
    for file in files:
        target = folder / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        problem = f"{place.public}: {file.name} cannot be read"
        with told(place, problem):
            source = store.open(file.path, "rb")
        with source, target.open("wb") as copy:
            while True:
                with told(place, problem):
                    piece = source.read(_PIECE)
                if not piece:
                    break
                copy.write(piece)
                done += len(piece)
                progress(done // _MEGABYTE, max(total, done) // _MEGABYTE + 1)
    progress(1, 1)


def _open(place: Address) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise missing("fsspec") from None
    with told(place, f"{place.public} cannot be read"):
        try:
            store, root = url_to_fs(place.url, skip_instance_cache=True)
        except ImportError:
            raise missing(store_package(place.scheme)) from None
        return store, str(root)


def _listed(place: Address, store: Any, root: str) -> list[_Remote]:
    hint = ""
    if place.scheme in ("s3", "s3a"):
        hint = " (credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; docs/data.md)"
    with told(place, f"{place.public} cannot be read{hint}"):
        about = _about(place, store, root)
        if place.scheme in ("http", "https") or about["type"] == "file":
            return [_Remote(root, unquote(place.place.rstrip("/").rpartition("/")[2]), about.get("size") or 0)]
        under = root.rstrip("/") + "/"
        found = store.find(root, detail=True).items()
        # A store may name a directory as an empty file.
        return sorted(
            _Remote(path, path.removeprefix(under), about.get("size") or 0)
            for path, about in found
            if about["type"] == "file" and not path.endswith("/")
        )


def _about(place: Address, store: Any, root: str) -> dict[str, Any]:
    try:
        about: dict[str, Any] = store.info(root)
    except FileNotFoundError:
        raise DataError(f"{place.public} does not exist, or holds nothing; give a folder that holds files") from None
    return about


def _chosen(place: Address, files: list[_Remote], everything: bool) -> list[_Remote]:
    chosen = []
    for file in files:
        *directories, name = file.name.split("/")
        if ".." in (*directories, name) or "" in (*directories, name) or "\0" in file.name:
            raise DataError(f"{place.public} names a file {file.name!r}, which lies outside the folder; rename it")
        if any(part.startswith((".", "_")) for part in (*directories, name)):
            continue  # marks that Spark and others leave
        if everything or not directories or (directories[0] in _TABLES and name.endswith(".parquet")):
            chosen.append(file)
    if not chosen:
        there = ", ".join(file.name for file in files[:5]) or "nothing"
        raise DataError(
            f"{place.public} holds no file of a dataset (items.parquet, items/*.parquet ...); it holds {there}"
        )
    return chosen
