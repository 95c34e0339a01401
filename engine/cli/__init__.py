"""Commands: parse, build, run, report. The only prints, and the only catch of EngineError.

python -m engine demo
python -m engine --help
"""

from __future__ import annotations

import logging
import sys
import time

from engine import console
from engine.cli import asking, assigning, data, doctor, gate, judging, programs, training
from engine.cli.options import app
from engine.errors import EngineError, refused, shown
from engine.generator import together

__all__ = ["app", "asking", "assigning", "data", "doctor", "gate", "judging", "main", "programs", "training"]

_logger = logging.getLogger(__name__)
logging.getLogger("engine").addHandler(logging.NullHandler())  # errors are told once, in a sentence


def main() -> None:
    """Run the command line; exit codes 0, 1 (the user's error), 2 (usage), 130 (Ctrl-C); those of `audit`: engine/audit/gate.py."""
    began = time.perf_counter()
    try:
        app()
    except SystemExit as ended:
        _ends(began, ended.code)
        raise
    except EngineError as error:
        _fail(began, str(error))
    except Exception as error:
        refusal = refused(error)
        if refusal is None:
            raise
        what = str(getattr(error, "filename", None) or error)
        told = shown((what.splitlines() or [""])[0], 300)
        _fail(began, f"{told}: {refusal.reason}. What was finished is kept; {refusal.advice} and repeat.")


def _ends(began: float, code: object) -> None:
    _logger.info("command ends", extra={"code": code or 0, "seconds": round(time.perf_counter() - began, 3)})
    together.leave(code if isinstance(code, int) else int(code is not None))


def _fail(began: float, message: str) -> None:
    console.fail(message)
    _logger.error(message)
    _ends(began, 1)
    sys.exit(1)
