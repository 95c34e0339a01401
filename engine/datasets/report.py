"""What validation found: rows per file, each rule broken with its count and first examples."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.errors import DataError

EXAMPLES = 3
"""Examples kept of each broken rule."""


@dataclass(frozen=True)
class FileCount:
    """Rows of one input file: read = accepted + rejected."""

    file: str
    read: int
    accepted: int
    rejected: int

    @property
    def share(self) -> float:
        """Share of its rows that is rejected, 0..1."""
        return self.rejected / self.read if self.read else 0.0


@dataclass(frozen=True)
class Issue:
    """One broken rule in one file."""

    rule: str
    file: str
    column: str
    count: int
    examples: tuple[str, ...]  # `file:line column value -> why`, the first ones.


@dataclass(frozen=True)
class Report:
    """The outcome of `validate`. A row may break several rules, so counts of issues can exceed rejected rows."""

    files: tuple[FileCount, ...]
    issues: tuple[Issue, ...]
    warnings: tuple[str, ...]
    max_reject_share: float

    @property
    def n_rejected(self) -> int:
        """Rejected rows of all files."""
        return sum(f.rejected for f in self.files)

    @property
    def ok(self) -> bool:
        """True where no file has more rejected rows than `max_reject_share`."""
        return all(f.share <= self.max_reject_share for f in self.files)

    def require_ok(self) -> None:
        """Raises DataError, naming the worst file and its commonest broken rule, unless `ok` and an item is left."""
        no_items = self.files[0].accepted == 0
        if self.ok and not no_items:
            return
        worst = self.files[0] if no_items else max(self.files, key=lambda f: f.share)
        issue = max((i for i in self.issues if i.file == worst.file), key=lambda i: i.count)
        limit = "which leaves no item" if no_items else f"more than the {self.max_reject_share:.0%} allowed"
        remedy = "mend the file" if no_items else "mend the file, or allow a larger share of rejected rows"
        raise DataError(
            f"{worst.file}: {worst.rejected:,} of {worst.read:,} rows ({worst.share:.1%}) are rejected, {limit}; "
            f"mostly {issue.rule} ({issue.count:,} rows), e.g. {issue.examples[0]}. Nothing was stored: {remedy}."
        )

    def to_dict(self) -> dict[str, object]:
        """For `json.dumps`."""
        return {**dataclasses.asdict(self), "ok": self.ok, "n_rejected": self.n_rejected}
