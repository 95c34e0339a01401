"""Packages that connectors need beyond requirements.txt: imported when they are asked for, named when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from engine.errors import DataError

EXTRA = "requirements-connect.txt"

PINNED = {
    "adbc-driver-manager": "1.13.0",
    "adbc-driver-postgresql": "1.13.0",
    "adbc-driver-sqlite": "1.13.0",
    "fsspec": "2026.9.0",
    "s3fs": "2026.9.0",
}
"""The versions of `EXTRA`, for messages."""

UNTRIED = {"adbc-driver-snowflake": "1.11.0", "adbc-driver-bigquery": "1.11.0"}
"""Newest versions that install beside the pinned ones; nothing here has been run against those services."""

_STORES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
           "http": "aiohttp", "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko"}  # fmt: skip


def driver(module: str) -> ModuleType:
    """The DBAPI of an ADBC driver, such as `adbc_driver_postgresql`. Raises DataError where it is not installed."""
    try:
        return importlib.import_module(f"{module}.dbapi")
    except ImportError:
        raise missing(module.replace("_", "-")) from None


def missing(package: str) -> DataError:
    """What to say of a package that is not installed."""
    version = (PINNED | UNTRIED).get(package)
    all_of_them = f" (or all of them: pip install -r {EXTRA})" if package in PINNED else ""
    return DataError(
        f"reading from there needs the package {package}: pip install {package}"
        + (f"=={version}" if version else "")
        + all_of_them
    )


def store_package(scheme: str) -> str:
    """The package by which fsspec reads URLs of a scheme; fsspec itself where none is known."""
    return _STORES.get(scheme, "fsspec")
