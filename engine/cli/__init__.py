"""Commands: parse, build, run, report. The only prints, and the only catch of EngineError.

python -m engine demo
python -m engine --help
"""

from __future__ import annotations

import errno
import sys

from engine import console
from engine.cli import asking, assigning, data, doctor, gate, judging, programs, training
from engine.cli.options import app
from engine.errors import EngineError

__all__ = ["app", "asking", "assigning", "data", "doctor", "gate", "judging", "main", "programs", "training"]


def main() -> None:
    """Run the command line; exit codes 0, 1 (the user's error), 2 (usage), 130 (Ctrl-C); those of `audit`: engine/audit/gate.py."""
    try:
        app()
    except EngineError as error:
        console.fail(str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        console.fail(
            f"{error.strerror}: {error.filename or 'the workspace'}. What was finished is kept; mend it and repeat."
        )
        sys.exit(1)
