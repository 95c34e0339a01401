"""What validation found: rows per file, each rule broken with its count and first examples."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.datasets.reading.decisions import Decision
from engine.errors import DataError

EXAMPLES = 3
"""Examples kept of each broken rule."""


@dataclass(frozen=True)
class FileCount:
    """Rows of one input file: read = accepted + rejected + skipped."""

    file: str
    read: int
    accepted: int
    rejected: int
    skipped: int = 0  # Empty ones, and others that are no fault: `Report.skipped` says which.
    table: str = ""  # The file of the contract that it is.

    @property
    def share(self) -> float:
        """Share of its rows that is rejected, 0..1."""
        rows = self.read - self.skipped
        return self.rejected / rows if rows else 0.0


@dataclass(frozen=True)
class Issue:
    """One broken rule in one file."""

    rule: str
    file: str
    column: str
    count: int
    examples: tuple[str, ...]  # `file:line column value -> why`, the first ones.
    costs: str = "row"  # 'row', or 'value': the row is kept without it.


@dataclass(frozen=True)
class Report:
    """The outcome of `validate`. A row may break several rules, so counts of issues can exceed rejected rows."""

    files: tuple[FileCount, ...]
    issues: tuple[Issue, ...]
    warnings: tuple[str, ...]
    max_reject_share: float
    decisions: tuple[Decision, ...] = ()  # How the files were read.
    skipped: tuple[tuple[str, str, int], ...] = ()  # (file, why, rows) that were passed over without being faulty.

    @property
    def n_rejected(self) -> int:
        """Rejected rows of all files."""
        return sum(f.rejected for f in self.files)

    @property
    def ok(self) -> bool:
        """True where every file has rows, no more of them rejected than `max_reject_share`, and an item is left."""
        sound = all(f.share <= self.max_reject_share and f.read > f.skipped for f in self.files)
        return sound and self.files[0].accepted > 0

    def require_ok(self) -> None:
        """Raises DataError, naming the worst file and its commonest broken rule, unless `ok` and an item is left."""
        if why := self.verdict():
            raise DataError(f"{why}. Nothing was stored: mend the file, or allow a larger share of rejected rows.")

    def verdict(self) -> str | None:
        """Why the dataset cannot be stored as it is; None where it can."""
        if (empty := next((f for f in self.files if f.read == f.skipped), None)) is not None:
            return f"{empty.file} has no rows to read ({empty.read:,} were passed over); it needs rows, or leave it out"
        no_items = self.files[0].accepted == 0
        if self.ok:
            return None
        worst = self.files[0] if no_items else max(self.files, key=lambda f: f.share)
        issue = max((i for i in self.issues if i.file == worst.file), key=lambda i: (i.costs == "row", i.count))
        limit = "which leaves no item" if no_items else f"more than the {self.max_reject_share:.0%} allowed"
        return (
            f"{worst.file}: {worst.rejected:,} of {worst.read - worst.skipped:,} rows ({worst.share:.1%}) are rejected, {limit}; "
            f"mostly {issue.rule} ({issue.count:,} rows), e.g. {issue.examples[0]}"
        )

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        decisions = [decision._asdict() for decision in self.decisions]
        return {**dataclasses.asdict(self), "decisions": decisions, "ok": self.ok, "n_rejected": self.n_rejected}
