"""The soaks of docs/benchmarks.md: `make soak` runs them all, `python -m tests.soak kills --times 200` one with options.

A soak is a module `soak_NAME.py` here with `main(argv: list[str]) -> int`; 0 means that nothing broke.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

NAMES = sorted(path.stem.removeprefix("soak_") for path in Path(__file__).parent.glob("soak_*.py"))


def main(argv: list[str]) -> int:
    """Run the soak named first with the options after it, or every soak with its defaults; 1 where one of them failed."""
    if argv and argv[0] not in NAMES:
        print(f"{__doc__}\nSoaks: {', '.join(NAMES) or 'none'}; NAME --help lists the options of one.")
        return 0 if argv[0] in ("-h", "--help") else 2
    failed = []
    for name in argv[:1] or NAMES:
        print(f"\n## python -m tests.soak {' '.join([name, *argv[1:]])}\n", flush=True)
        began = time.monotonic()
        if importlib.import_module(f"tests.soak.soak_{name}").main(argv[1:]):
            failed.append(name)
        print(
            f"\n{name}: {'FAILED' if name in failed else 'passed'} after {time.monotonic() - began:,.0f} s", flush=True
        )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
