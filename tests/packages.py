"""What is known against the installed packages, and under which licences they stand: python -m tests.packages

Fails on a weakness that a newer version mends; one that nobody has mended yet is told, and so is what could not be looked up
(without the network that is everything).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from typing import Any, NamedTuple


class Weakness(NamedTuple):
    """A known one, and the versions without it; none where there is no such version."""

    package: str
    version: str
    known_as: str
    mended_in: tuple[str, ...]


def weaknesses(report: dict[str, Any]) -> list[Weakness]:
    """Those of a report of pip-audit, which a newer version mends first."""
    found = [
        Weakness(package["name"], package["version"], known["id"], tuple(known["fix_versions"]))
        for package in report["dependencies"]
        for known in package.get("vulns", ())
    ]
    return sorted(found, key=lambda one: (not one.mended_in, one))


def tool(*arguments: str) -> Any:
    """The JSON that a tool of this environment prints. Raises RuntimeError with its words where it prints none."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise RuntimeError(f"{arguments[0]}: {done.stderr.strip()[-500:]}") from error


def main() -> int:
    """Print both; 1 where a newer version would help."""
    say = sys.stdout.write
    under = defaultdict(list)
    for package in tool("piplicenses", "--from=mixed", "--format=json"):
        under[package["License"]].append(package["Name"])
    say("Licences of the installed packages:\n")
    for licence, names in sorted(under.items(), key=lambda pair: -len(pair[1])):
        say(f"  {licence}: {', '.join(sorted(names, key=str.casefold))}\n")
    try:
        report = tool("pip_audit", "--local", "--format=json", "--progress-spinner=off")
    except RuntimeError as error:  # it asks over the network
        say(f"Known weaknesses could not be looked up. {error}\n")
        return 0
    packages = report["dependencies"]
    missed = sum("skip_reason" in package for package in packages)
    say(f"{len(packages) - missed} of {len(packages)} packages were looked up for known weaknesses.\n")
    found = weaknesses(report)
    for one in found:
        remedy = f"take {' or '.join(one.mended_in)}" if one.mended_in else "no version mends it yet"
        say(f"  {one.package} {one.version}: {one.known_as}, {remedy}\n")
    return int(any(one.mended_in for one in found))


if __name__ == "__main__":
    sys.exit(main())
