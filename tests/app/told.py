"""What a page tells: every sentence, number and caption of it as plain text, to be held against SQL."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streamlit.testing.v1 import AppTest

_ESCAPED = re.compile(r"\\([\\`*_{}\[\]()#+\-.!|<>$:~^=&])")
_MARKS = re.compile(r"\*\*|:material/\w+: ?")
_KINDS = ("title", "header", "subheader", "markdown", "caption", "text", "info", "warning", "error", "success")


def plain(markdown: str) -> str:
    """Markdown as it is read: without escapes, bold marks and icons."""
    return " ".join(_ESCAPED.sub(r"\1", _MARKS.sub("", markdown.replace("\u2060", ""))).split())


def told(page: AppTest) -> list[str]:
    """Every text of the page, metrics as 'label: value'."""
    return list(_told(page))


def _told(page: AppTest) -> Iterator[str]:
    for kind in _KINDS:
        for element in getattr(page, kind):
            yield plain(element.value)
    for metric in page.metric:
        yield f"{plain(metric.label)}: {metric.value}"


def find(page: AppTest, pattern: str) -> re.Match[str]:
    """The first text of the page that the pattern matches. Raises AssertionError with all texts where there is none."""
    for line in told(page):
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{pattern!r} is told nowhere: {told(page)}")
