"""The benchmarks of docs/benchmarks.md on the published demo, one after the other: `make bench`.

Apart from it, because they take long or need other data: `python -m engine ablate` with tests.bench.report_ladder,
tests.bench.reference_ranker, bench_growth, bench_retrieval, bench_lexical, bench_judge, bench_implicit, bench_ingest,
bench_learning_curve, bench_views, bench_ray, bench_gpu, marketplace_difficulty and exam_shaped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

COMMANDS = (
    ["tests.bench.report_run"],
    ["tests.bench.bench_live"],
    ["tests.bench.bench_beams"],
    ["tests.bench.bench_quantizer"],
    ["tests.bench.bench_signals"],
    ["tests.bench.bench_cost"],
    ["tests.bench.bench_contrast"],
    ["tests.bench.bench_online"],
    ["tests.bench.bench_cadence"],
    ["tests.bench.bench_first_page"],
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for command in COMMANDS:
        print(f"\n## python -m {' '.join(command)}\n", flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
