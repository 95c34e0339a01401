"""Commands: parse, build, run, report. The only prints, and the only catch of EngineError.

python -m engine demo
python -m engine --help
"""

from __future__ import annotations

import sys

from engine import console
from engine.cli import asking, assigning, data, doctor, gate, judging, programs, training
from engine.cli.options import app
from engine.errors import EngineError, one_line, refused

__all__ = ["app", "asking", "assigning", "data", "doctor", "gate", "judging", "main", "programs", "training"]


def main() -> None:
    """Run the command line; exit codes 0, 1 (the user's error), 2 (usage), 130 (Ctrl-C); those of `audit`: engine/audit/gate.py."""
    try:
        app()
    except EngineError as error:
        console.fail(str(error))
        sys.exit(1)
    except Exception as error:
        refusal = refused(error)
        if refusal is None:
            raise
        told = one_line((str(error).splitlines() or [""])[0])
        console.fail(f"{told}: {refusal.reason}. What was finished is kept; {refusal.advice} and repeat.")
        sys.exit(1)
