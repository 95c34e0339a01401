"""How far a judge agrees with people, and its labels as a judgments file: never the second without the first."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from engine.datasets.contract import Catalogue
from engine.errors import ConfigError
from engine.labeling.agreement import Agreement, Ceiling, Compared, human_ceiling, measure_agreement
from engine.labeling.answers import AGREEMENT, SETTINGS, Answers
from engine.labeling.pairs import LLM, human_judgments, raw_judgments, reserved_pairs
from engine.labeling.prompt import Prompt
from engine.runs import write_text

FEWEST_HUMAN_PAIRS = 100
NEW_QUERIES = ".new_queries.csv"
"""Follows the stem of the labels' file."""
SYNTHETIC = "synthetic"
"""`source` of a generated catalogue's own grades, and of queries made from item fields."""
_PAIR = ["query_id", "item_id"]
_COLUMNS = ["query_id", "query", "item_id", "grade", "source", "rater", "split"]


class Report(NamedTuple):
    """Agreement of the judge with people (None where no answered pair was judged by them), and people's own."""

    agreement: Agreement | None
    ceiling: Ceiling
    reference_sources: dict[str, int]  # `source` of the human judgments -> pairs.
    ceiling_on_answered: bool
    """Whether the ceiling is taken on the pairs that the judge answered, or on all that people rated."""

    @property
    def human_pairs(self) -> int:
        """Answered pairs that people judged; generated truth is no person."""
        return sum(n for source, n in self.reference_sources.items() if source != SYNTHETIC)

    def rows(self, judge: str) -> list[tuple[str, Agreement]]:
        """The table's rows, the judge first."""
        against = "people" if self.human_pairs else "generated truth (not people)"
        own = [(f"{judge} against {against}", self.agreement)] if self.agreement else []
        return [*own, *((f"{c.first} against {c.second}", c.agreement) for c in _listed(self.ceiling))]


class Exported(NamedTuple):
    """A written judgments file."""

    file: str
    labels: int
    held_out: int  # Labels left out because people judged queries of theirs that must stay a fair test.
    already_judged: int  # Labels left out because people judged the pair.
    human: int  # Human rows written beside them.
    earlier: int  # Rows of the catalogue's own that a language model gave, on pairs that are not judged anew.
    new_queries: int  # Synthetic queries with labels: a dataset's queries file has no row of them.

    def sentence(self) -> str:
        """What was written, and what was left out and why."""
        beside = [(self.human, "human judgments"), (self.earlier, "earlier labels")]
        text = " and ".join([f"{self.labels:,} labels", *(f"{n:,} {what}" for n, what in beside if n)])
        left = [
            (self.already_judged, "whose pair people judged"),
            (self.held_out, "of queries that people judged and that are not stated to be for training"),
        ]
        out = [f"{n:,} {why}" for n, why in left if n]
        if self.new_queries:
            where = f"{Path(self.file).stem}{NEW_QUERIES}"
            text += f" ({self.new_queries:,} synthetic queries stand in {where}: add them to a queries file)"
        return text + (f"; left out: {', '.join(out)}" if out else "")


def report(
    answers: Answers,
    judgments: pd.DataFrame,
    ratings: pd.DataFrame,
    prompt: Prompt,
    *,
    relevant_grade: float,
    seed: int = 0,
) -> Report:
    """Agreement with `judgments` (query_id, item_id, grade, source), and of the raters of `ratings` with each other.

    The ceiling is taken on the pairs that the judge answered where they are enough, so that both rows speak of the
    same pairs; on all rated pairs otherwise.
    """
    answered = answers.usable()[[*_PAIR, "grade"]].sort_values(_PAIR)  # intervals must not depend on who answered first
    both = answered.merge(judgments[[*_PAIR, "grade", "source"]], on=_PAIR, suffixes=("_judge", ""))
    scale: dict[str, Any] = {"grades": prompt.scale, "relevant_grade": relevant_grade, "seed": seed}
    columns = (both[name].to_numpy() for name in ("grade_judge", "grade", "query_id"))
    agreement = measure_agreement(*columns, **scale) if len(both) else None
    ceiling = human_ceiling(ratings.merge(answered[_PAIR], on=_PAIR), **scale)
    on_answered = bool(_listed(ceiling))
    if not on_answered:
        ceiling = human_ceiling(ratings, **scale)
    sources = both["source"].value_counts().sort_index()
    return Report(agreement, ceiling, {str(k): int(v) for k, v in sources.items()}, on_answered)


def write_agreement(folder: Path, found: Report, answers: Answers) -> Path:
    """`agreement.json` beside the answers: the numbers, on what, when, and of which judge."""
    assert found.agreement is not None
    usable = answers.usable().sort_values(_PAIR)
    content = usable[[*_PAIR, "grade"]].to_csv(index=False).encode("utf-8", "surrogatepass")
    judge = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    stated = {
        "judge": judge,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "answers": len(usable),
        "answers_sha256": hashlib.sha256(content).hexdigest(),
        "reference_sources": found.reference_sources,
        "human_pairs": found.human_pairs,
        "agreement": found.agreement.to_dict(),
        "ceiling_on_answered_pairs": found.ceiling_on_answered,
        "ceiling": [
            {"first": c.first, "second": c.second, **c.agreement.to_dict()} for c in _listed(found.ceiling)
        ],
    }  # fmt: skip
    path = folder / AGREEMENT
    write_text(path, json.dumps(stated, ensure_ascii=False, indent=1))
    return path


class Terms(NamedTuple):
    """On which labels are written."""

    fewest: int = FEWEST_HUMAN_PAIRS  # Human pairs that agreement must rest on.
    force: str | None = None  # The reason for doing without that agreement; it is written into the mark.
    with_human: bool = False
    """Write the catalogue's own judgments first, earlier labels of pairs not judged anew among them, so that the file
    replaces the dataset's."""


def export(
    folder: Path, target: Path, workspace: Path, catalogue: Catalogue, answers: Answers, terms: Terms = Terms()  # noqa: B008
) -> Exported:  # fmt: skip
    """The judge's labels as a judgments file of the contract (CSV), with `<target>.agreement.json` beside it.

    Left out are pairs that people judged (their grade stays theirs alone) and all pairs of queries that people judged
    and that are not stated to be for training: a label of a model must not decide a test. Synthetic queries with labels
    are listed in `<stem of target>.new_queries.csv` beside it (query_id,text).

    Raises ConfigError unless agreement was measured on enough human pairs and is better than chance, or a reason for
    doing without is given. Also where `target` may hold judgments of people and they are not written again.
    """
    path = folder / AGREEMENT
    measured: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    objection = _objection(measured, terms.fewest)
    if objection and not (terms.force or "").strip():
        raise ConfigError(f"{objection}, or state why its labels are wanted all the same: --force 'the reason'")
    mark = target.with_name(f"{target.name}.agreement.json")
    if not terms.with_human and target.exists() and _people_wrote(mark):
        raise ConfigError(
            f"{target} exists and may hold judgments of people: export to another file, or have the catalogue's own "
            f"judgments written with the labels (--with-human)"
        )
    labels = answers.usable()
    reserved = reserved_pairs(labels, human_judgments(workspace, catalogue))
    kept = labels[~(reserved.judged | reserved.held_out)]
    judge = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    rows = kept[[*_PAIR, "grade"]].assign(source=LLM, rater=judge["model"], split="train")
    own = raw_judgments(workspace, catalogue)
    anew = pd.MultiIndex.from_frame(own[_PAIR]).isin(pd.MultiIndex.from_frame(rows[_PAIR]))
    own = own[terms.with_human & ((own["source"] != LLM) | ~anew)]
    human = int((own["source"] != LLM).sum())
    queries = catalogue.queries.set_index("query_id")
    new = queries.loc[kept["query_id"].unique(), ["text", "source"]].query("source == @SYNTHETIC")
    done = Exported(
        file=target.name,
        labels=len(kept),
        held_out=int(reserved.held_out.sum()),
        already_judged=int(reserved.judged.sum()),
        human=human,
        earlier=len(own) - human,
        new_queries=len(new),
    )
    stated = {
        **done._asdict(),
        "objection": objection,
        "reason": terms.force if objection else None,
        "measured": measured,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    # First of all, so that labels never stand without it.
    write_text(mark, json.dumps(stated, ensure_ascii=False, indent=1))
    rows = pd.concat([own, rows], ignore_index=True) if len(own) else rows
    rows = rows.assign(query=rows["query_id"].map(queries["text"]), grade=rows["grade"].map("{:g}".format))
    write_text(target, rows[_COLUMNS].to_csv(index=False, lineterminator="\n"))
    if len(new):
        text = new[["text"]].to_csv(lineterminator="\n")
        write_text(target.with_name(f"{target.stem}{NEW_QUERIES}"), text)
    return done


def _people_wrote(mark: Path) -> bool:
    """Whether the judgments file of this `mark` may hold people's: no judge wrote it, or one wrote theirs with its own."""
    return not mark.is_file() or json.loads(mark.read_text(encoding="utf-8"))["human"] > 0


def _objection(measured: dict[str, Any] | None, fewest: int) -> str | None:
    """Why labels may not train, where they may not."""
    on = int(measured["human_pairs"]) if measured else 0
    if measured is None or on < fewest:
        return (
            f"agreement with people was measured on {on} human pairs and labels may train only after {fewest} or more: "
            f"judge human pairs first (--pairs judged)"
        )
    kappa = measured["agreement"]["binary_kappa"]
    if kappa["low"] is None or kappa["low"] <= 0:
        return (
            f"on {on} human pairs this judge tells relevant from irrelevant no better than chance (kappa "
            f"{kappa['value']}, 95 % interval from {kappa['low']}): judge more pairs, or use another model"
        )
    return None


def _listed(ceiling: Ceiling) -> list[Compared]:
    return [*ceiling.left_out, *ceiling.between]
