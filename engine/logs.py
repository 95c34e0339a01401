"""What happens, for programs that watch: one JSON object a line, in a file or on the error stream.

python -m engine --log /var/log/sidelight.jsonl train
python -m app --log -
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import time

from engine.errors import ConfigError

VARIABLE = "SIDELIGHT_LOG"
"""Of the environment: where, if no option says so."""
OURS = ("engine", "app")
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message"}


class JsonLines(logging.Formatter):
    """`time` (UTC), `level`, `logger`, `event`, `process`, what the event carries (`run`, `stage`, `seconds` ...), and `trace` of an
    error. Everything beyond ASCII is escaped, so that no catalogue text steers a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{at}.{int(record.msecs):03d}Z", "level": record.levelname.lower(), "logger": record.name,
                "event": record.getMessage(), "process": record.process}  # fmt: skip
        line |= {name: value for name, value in record.__dict__.items() if name not in STANDARD}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def keep(place: str | None) -> None:
    """Write events to `place`, a file that grows ('-': the error stream); nothing where it is None or empty.

    The file is opened anew after a rotation moved it. Raises ConfigError where it cannot be written.
    """
    if not place:
        return
    try:
        handler = logging.StreamHandler(sys.stderr) if place == "-" else logging.handlers.WatchedFileHandler(place)
    except OSError as error:
        raise ConfigError(f"--log {place}: {error.strerror}") from error
    handler.setFormatter(JsonLines())
    logging.getLogger().addHandler(handler)
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    os.environ[VARIABLE] = place  # of processes that this one starts
