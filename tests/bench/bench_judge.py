"""The agreement table: human raters against each other, and whether the measurement finds noise that was put in.

    python -m tests.bench.bench_judge [--icecat ../shared/data/icecat] [--sample 800]

The first table is real: three people rated the same Icecat pairs. The second is NO language model: a stand-in on
127.0.0.1 knows the human grade and, for a stated share of pairs, says another one instead, drawn evenly. It goes
through the whole of `engine judge` (prompt, HTTP, answers file, agreement), so that the measured agreement can be held
against what the noise makes it. What a real model reaches has to be measured with that model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from engine.datasets.ingest import ingest
from engine.labeling.agreement import Agreement, Interval, cohen_kappa, human_ceiling
from engine.labeling.answers import judge_folder, read_answers, write_settings
from engine.labeling.endpoint import EndpointSettings
from engine.labeling.judge import make_plan, run_plan
from engine.labeling.pairs import Choice, PairTexts, choose_pairs, human_judgments, read_ratings
from engine.labeling.prompt import Prompt
from engine.labeling.report import report
from tests.engine.judge_server import Asked, JudgeServer, Said, graded

NOISE = (0.0, 0.06, 0.2, 0.5)
HEAD = "pairs | queries | same grade | kappa | quadratic kappa | same side of relevant | its kappa |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icecat", type=Path, default=Path("../shared/data/icecat"))
    parser.add_argument("--sample", type=int, default=800)
    arguments = parser.parse_args()
    individual = arguments.icecat / "ratings_individual.csv"
    if not individual.is_file():
        sys.exit(f"{individual} is not here; give the folder of the Icecat ratings with --icecat")

    ratings = read_ratings(individual)
    print("Human raters of Icecat, 95 % intervals over queries:\n")
    print(f"| who | against | {HEAD}\n|{'---|' * 9}")
    ceiling = human_ceiling(ratings, grades=range(4), relevant_grade=2)
    for c in (*ceiling.left_out, *ceiling.between):
        print(f"| {c.first} | {c.second} | {cells(c.agreement)}")

    print("\nA stand-in judge (no language model) whose noise is known, against the final human rating:\n")
    print(f"| noise put in | expected same grade | expected kappa | {HEAD} pairs/s |\n|{'---|' * 11}")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        catalogue = ingest(arguments.icecat, workspace, adapter="icecat").catalogue
        people, texts, prompt = human_judgments(workspace, catalogue), PairTexts(catalogue), Prompt.for_scale(3)
        # What cannot be told apart by what the judge is shown cannot be looked up: left out.
        shown = [prompt.messages(texts.of(q, i))[1]["content"] for q, i in zip(people["query_id"], people["item_id"], strict=True)]  # fmt: skip
        clear = ~pd.Series(shown).duplicated(keep=False).to_numpy()
        grade = dict(zip(shown, people["grade"].astype(int), strict=True))
        people = people[clear]
        pairs = choose_pairs(Choice(sample=arguments.sample), workspace, catalogue, people)
        truth = pairs.merge(people, on=["query_id", "item_id"])["grade"].astype(int).to_numpy()
        for share in NOISE:
            said = noisy(grade, [prompt.messages(texts.of(q, i))[1]["content"] for q, i in pairs.itertuples(index=False)], share)  # fmt: skip

            def answer(asked: Asked, said: dict[str, int] = said) -> Said:
                return graded(said[asked.user])

            with JudgeServer(answer) as server:
                settings = EndpointSettings(url=server.url, model=f"stand-in-{share}")
                target = judge_folder(workspace, catalogue.fingerprint, prompt, settings)
                write_settings(target, catalogue.fingerprint, prompt, settings)
                plan = make_plan(pairs, texts, prompt, read_answers(target))
                began = time.perf_counter()
                run_plan(plan, texts, prompt, settings, target)
                rate = len(plan.pairs) / (time.perf_counter() - began)
            found = report(read_answers(target), people, ratings.head(0), prompt, relevant_grade=2).agreement
            assert found is not None
            kappa = float(cohen_kappa(expected_confusion(truth, share)))
            print(f"| {share:.0%} | {1 - share:.1%} | {kappa:.3f} | {cells(found)} {rate:,.0f} |")
    print(f"\n{int((~clear).sum()):,} pairs that look the same to the judge were left out.")


def noisy(grade: dict[str, int], shown: list[str], share: float) -> dict[str, int]:
    """What the stand-in says: the human grade, or with probability `share` one of the three others."""
    rng = np.random.default_rng(1)
    other, shift = rng.random(len(shown)) < share, rng.integers(1, 4, len(shown))
    return {text: int((grade[text] + s * o) % 4) for text, o, s in zip(shown, other, shift, strict=True)}


def expected_confusion(truth: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) mean counts under that noise."""
    keep = np.full((4, 4), share / 3) + np.eye(4) * (1 - share - share / 3)
    return np.bincount(truth, minlength=4)[:, None] * keep


def cells(a: Agreement) -> str:
    measures = (a.kappa, a.kappa_quadratic)
    return (
        f"{a.n_pairs:,} | {a.n_queries} | {percent(a.percent)} | "
        + " | ".join(f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for m in measures)
        + f" | {percent(a.binary_percent)} | {a.binary_kappa.value:.3f} [{a.binary_kappa.low:.3f}, {a.binary_kappa.high:.3f}] |"
    )


def percent(m: Interval) -> str:
    return f"{m.value:.1%} [{m.low:.1%}, {m.high:.1%}]"


if __name__ == "__main__":
    main()
