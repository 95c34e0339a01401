"""What drivers say when they fail, in one line and without secrets."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from engine.datasets.connectors.address import Address
from engine.errors import DataError, EngineError, shown

_PREFIX = re.compile(r"^(?:[A-Z_]+: )?(?:\[\w+\] ?)?(?:.*?\bERROR:\s+)?")
_LONGEST = 300
_INTERRUPTED = ("Query interrupted", "canceling statement due to user request")
"""So DuckDB and PostgreSQL tell of Ctrl-C."""


@contextlib.contextmanager
def told(place: Address, what: str) -> Iterator[None]:
    """Whatever a driver raises becomes DataError, '<what>: <its first line>'; no traceback shows the original, since that
    may repeat the URL. Ctrl-C passes."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:
        if any(sign in str(error) for sign in _INTERRUPTED):
            raise KeyboardInterrupt from None
        raise DataError(f"{what}: {first_line(place, error)}") from None


def first_line(place: Address, error: Exception) -> str:
    """A driver's message: its first line, without secrets and without the driver's own prefixes."""
    lines = [line.strip() for line in place.hide(str(error)).splitlines() if line.strip()]
    line = _PREFIX.sub("", lines[0]) if lines else ""
    return shown(line or type(error).__name__, _LONGEST)
