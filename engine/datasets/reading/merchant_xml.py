"""Product feeds in XML: Google Merchant's RSS 2.0 and Atom (support.google.com/merchants "XML feed"), and other RSS.

An `item` (RSS) or `entry` (Atom) is a record. Names lose their namespace (`g:id` -> `id`); where Google's and the feed's
own element have one name, Google's counts. Repeated elements become a list, elements within elements (`g:shipping`) an
object, an empty Atom `link` its address.

The file is fed to expat 1 MB at a time; an item is forgotten once it is given. Documents that declare entities are refused
(those can be made to grow without bound), and nothing outside the file is ever loaded. Entities that nothing declares, such
as the `&nbsp;` of HTML, stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from engine.datasets.reading.raw import BadRow
from engine.datasets.reading.records import Record
from engine.errors import DataError

_GOOGLE = re.compile(r"https?://base\.google\.com/ns/1\.0/?")
_PROLOG = re.compile(r"\s*(<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(\[.*?\]\s*)?>)", re.S)
_ITEMS = ("item", "entry")
_PLAIN, _GOOGLES, _OTHER = "plain", "google", "other"


def recognise(head: str) -> bool:
    """Whether the first element is that of an RSS or Atom feed."""
    head = head.removeprefix("\ufeff")
    while before := _PROLOG.match(head):
        head = head[before.end() :]
    return re.match(r"\s*<(\w+:)?(rss|feed|RDF)[\s/>]", head) is not None


@dataclass
class _Element:
    name: str
    space: str  # One of _PLAIN, _GOOGLES, _OTHER.
    line: int
    link: str | None = None  # Its attribute `href`.
    text: list[str] = field(default_factory=list)
    children: list[tuple[_Element, object]] = field(default_factory=list)

    def value(self) -> object:
        """Its text; an object of its children where it has some and no text between them."""
        text = "".join(self.text).strip()
        if self.children and not text:
            return self.values()
        return " ".join(t for t in (text, *(v for _, v in self.children if isinstance(v, str))) if t) or self.link

    def values(self) -> dict[str, object]:
        """Name -> text, list or object of its children."""
        spaces: dict[str, str] = {}
        for child, _ in self.children:
            before = spaces.setdefault(child.name, child.space)
            if child.space == _GOOGLES or before == _OTHER:
                spaces[child.name] = child.space
        found: dict[str, list[object]] = {}
        for child, value in self.children:
            if child.space == spaces[child.name] and value is not None:
                found.setdefault(child.name, []).append(value)
        return {name: many[0] if len(many) == 1 else many for name, many in found.items()}


class _Feed:
    """What expat calls while it reads; finished items wait in `items`."""

    def __init__(self) -> None:
        self.items: list[Record | BadRow] = []
        self.parser = expat.ParserCreate("utf-8")  # The file is decoded: what its first line says of that is past.
        self.parser.buffer_text = True
        self.parser.UseForeignDTD(True)  # Else an undeclared entity would be an error; nothing is loaded.
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.SkippedEntityHandler = lambda name, parameter: None if parameter else self._text(f"&{name};")
        self.parser.EntityDeclHandler = self._refuse
        self._open: list[_Element] = []  # From the item down to where the parser is.
        self._google = {"g"}

    def _refuse(self, *_: object) -> None:
        raise DataError("declares entities, which a feed does not need and which can be made to grow without bound; "
                        "remove its <!DOCTYPE ...> and write the texts out")  # fmt: skip

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        for name, value in attributes.items():
            if name.startswith("xmlns:") and _GOOGLE.fullmatch(value):
                self._google.add(name.removeprefix("xmlns:"))
        prefix, _, name = tag.rpartition(":")
        if self._open or name in _ITEMS:
            space = _GOOGLES if prefix in self._google else _OTHER if prefix and prefix != "atom" else _PLAIN
            self._open.append(_Element(name, space, self.parser.CurrentLineNumber, attributes.get("href")))

    def _text(self, text: str) -> None:
        if self._open:
            self._open[-1].text.append(text)

    def _end(self, _: str) -> None:
        if not self._open:
            return
        done = self._open.pop()
        if self._open:
            self._open[-1].children.append((done, done.value()))
        elif values := done.values():
            self.items.append(Record(done.line, values))
        else:
            why = f"<{done.name}> holds no elements; a product needs <g:id> and <g:title>"
            self.items.append(BadRow(done.line, "row cannot be read", "", why, "".join(done.text), 1))


def records(path: Path) -> Iterator[Record | BadRow]:
    """One record an item; its place is the line where it begins.

    Raises DataError where the XML is damaged or cut short (items before that place are given first), or declares entities.
    """
    feed = _Feed()
    with path.open("rb") as file:
        ended = False
        while not ended:
            chunk = file.read(1 << 20)
            ended = not chunk
            problem = None
            try:
                feed.parser.Parse(chunk, ended)
            except expat.ExpatError as error:
                remedy = "copy or write it again" if ended else "mend that place ('&' in a text is written '&amp;')"
                problem = (
                    f"{path.name}:{error.lineno} is not well-formed XML ({expat.ErrorString(error.code)}) at character "
                    f"{error.offset + 1} of the line{'; it ends too early' if ended else ''}; {remedy}"
                )
            except DataError as error:
                problem = f"{path.name}:{feed.parser.CurrentLineNumber} {error}"
            yield from feed.items
            feed.items.clear()
            if problem:
                raise DataError(problem)
