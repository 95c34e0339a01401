"""The ladder of docs/benchmarks.md, from a finished ablation, as Markdown.

python -m tests.bench.report_ladder --workspace data/workspace
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from engine.runs import list_runs, newest_ablation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, default=Path("data/workspace"))
    parser.add_argument("--ablation", default=None, help="Name of its folder; the newest by default.")
    arguments = parser.parse_args()
    if arguments.ablation:
        folder = arguments.workspace / "ablations" / arguments.ablation
    else:
        runs = [info.run_id for info in list_runs(arguments.workspace)]
        folder = newest_ablation(arguments.workspace, runs) or arguments.workspace / "ablations"
    manifest = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    methods, seeds = ",".join(manifest["methods"]), len(manifest["seeds"])
    print((folder / "ladder.md").read_text(encoding="utf-8"))
    print("```bash")
    print(
        f"python -m engine ablate --preset {manifest['preset']} --catalogue {manifest['fingerprint']} "
        f"--methods {methods} --seeds {seeds}"
    )
    print(f"python -m tests.bench.report_ladder --ablation {folder.name}")
    print("```")


if __name__ == "__main__":
    main()
