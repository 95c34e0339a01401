"""Bytes to UTF-8: packed files are unpacked, other encodings rewritten, each into a copy beside; a plain file stays where it is."""

from __future__ import annotations

import codecs
import gzip
import re
import shutil
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from charset_normalizer import from_bytes

from engine.errors import DataError

CHUNK = 1 << 20
EVIDENCE_BYTES = 64_000
"""Text with letters beyond ASCII that an encoding is guessed from."""
MAX_UNPACKED_BYTES = 200_000_000_000
MAX_RATIO = 2_000
"""A file that unpacks to more than so many times its size is no table."""
PACKED_WITHIN = 3
"""Archives within archives that are opened."""
_MARKED = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
MARKS = tuple(_MARKED)
"""Byte-order marks."""
_ZEROS = "every other byte of its beginning is zero"
_USUAL = ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "koi8_r", "cp932", "euc_jp",
          "gb18030", "big5", "cp949", "cp850", "mac_roman"]  # fmt: skip
"""Encodings that tables come in; more would only be mistaken for these."""
_FOREIGN = re.compile(r"[ðþýÿšžõÐÞÝŸŠŽÕ\x80-\x9f]|(?<=[a-zA-Zà-ö])[³¹ºª¼¾¿¶±¥£¢¤¦§¨„”‚†‡ˆ‰‹›](?=[a-zA-Zà-ö])")
"""Letters and signs that windows-1252 shows where another code page was meant: 'ma³y' is Polish, 'þeker' Turkish."""


class Text(NamedTuple):
    """A file as UTF-8."""

    path: Path
    encoding: str  # As the file had it.
    because: str


def unpack(path: Path, label: str, staging: Path) -> Path:
    """The file itself, or a copy of what a `.gz` or a `.zip` of one file holds, and that may hold. Raises DataError for a damaged one."""
    for depth in range(PACKED_WITHIN):
        within = _unpacked(path, label, staging / f"packed-{depth}")
        if within == path:
            break
        path = within
    return path


def _unpacked(path: Path, label: str, staging: Path) -> Path:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        return _copied(lambda: gzip.open(path), label, "gzip", path, staging)
    if start == b"PK\x03\x04" and not _is_workbook(path):
        try:
            with zipfile.ZipFile(path) as archive:
                held = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
                if len(held) != 1:
                    names = ", ".join(m.filename for m in held[:4]) or "nothing"
                    raise DataError(f"{label} is a zip of {len(held)} files ({names}); unpack it and give the folder")
                return _copied(lambda: archive.open(held[0]), label, "zip", path, staging)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
            raise DataError(
                f"{label} begins like a zip archive or a workbook (.xlsx) and is not a whole one; it may be cut short or "
                "no table at all: copy it again, or save it as CSV in UTF-8"
            ) from None
    return path


def copy_of(path: Path, what: str, staging: Path) -> Path:
    """Where a copy of a file goes: under its own name, for messages."""
    (staging / what).mkdir(exist_ok=True, parents=True)
    return staging / what / path.name


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False


def _copied(opened, label: str, kind: str, path: Path, staging: Path) -> Path:  # type: ignore[no-untyped-def]
    target, most = copy_of(path, "plain", staging), max(path.stat().st_size, 1_000) * MAX_RATIO
    try:
        with opened() as packed, target.open("wb") as plain:
            while block := packed.read(CHUNK):
                plain.write(block)
                if plain.tell() > min(most, MAX_UNPACKED_BYTES):
                    raise DataError(f"{label} unpacks to more than {plain.tell() / 1e6:,.0f} MB, which no table does")
    except (EOFError, zlib.error, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise DataError(f"{label} is not a whole {kind} file; it may be cut short: copy or write it again") from None
    if target.stat().st_size == 0:
        raise DataError(f"{label} is empty once unpacked; it needs a header line and rows")
    return target


def as_utf8(path: Path, label: str, staging: Path, stated: str | None = None) -> Text:
    """The text of a file as UTF-8, in a copy where it was not. Raises DataError where it cannot be text."""
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((name for mark, name in _MARKED.items() if start.startswith(mark)), None)
    if stated:
        encoding, because = codecs.lookup(stated).name, "dataset.toml says so"
    elif marked:
        encoding, because = marked, "its byte-order mark says so"
    else:
        encoding, because = _found(path, label)
    if encoding in ("utf-8", "ascii"):
        return Text(path, "utf-8", because)
    target = copy_of(path, "utf8", staging)
    sure = stated or marked or because == _ZEROS
    # What was guessed from some of the lines, the others may disprove; every text can be read as the last of these.
    for name in [encoding] if sure else dict.fromkeys((encoding, "cp1252", "iso8859-1")):
        try:
            with (
                path.open(encoding=name, newline="") as read,
                target.open("w", encoding="utf-8", newline="") as written,
            ):
                shutil.copyfileobj(read, written, CHUNK)
            return Text(target, name, because)
        except (UnicodeError, LookupError) as error:
            fault = str(error.reason if isinstance(error, UnicodeDecodeError) else error)
    remedy = (
        'name its encoding, like encoding = "cp1252" under [read] in dataset.toml'
        if stated
        else "it is damaged or cut short: copy or write it again"
    )
    raise DataError(f"{label} cannot be read as {encoding} ({fault}); {remedy}, or save it as UTF-8")


def _found(path: Path, label: str) -> tuple[str, str]:
    """The encoding of a file without a mark, from all of its bytes, and why."""
    with path.open("rb") as file:
        head = file.read(4096)
    if nulls := head.count(0):
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if nulls > len(head) / 5 and max(even, odd) > 0.8 * nulls:
            name = "utf-16-be" if even > odd else "utf-16-le"
            return name, _ZEROS
        if nulls > len(head) / 20:
            raise DataError(f"{label} is not text (it holds zero bytes from its beginning on); save it as CSV in UTF-8")
    sound = damaged = broken = 0
    evidence = bytearray()
    for line in _beyond_ascii(path):
        try:
            line.decode()
            sound += 1
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
            wrong = text.count("\ufffd")
            if sum(letter > "\x7f" for letter in text) > 4 * wrong:
                damaged += 1  # Of another encoding few bytes would pair to letters so.
                continue
            broken += 1
            if len(evidence) < EVIDENCE_BYTES:
                evidence += line[:4096]
    if not broken and not damaged:
        return "utf-8", "all of it is valid" if sound else "it is plain ASCII"
    if sound + damaged > broken:
        whole = sound + damaged + broken
        return "utf-8", f"{sound:,} of {whole:,} lines with letters beyond ASCII are valid; the others are rejected"
    return _guessed(bytes(evidence)), f"{broken:,} lines are not valid UTF-8; the letters they hold fit this best"


def _beyond_ascii(path: Path) -> Iterator[bytes]:
    """The lines that are not plain ASCII."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            block = rest + block
            end = block.rfind(b"\n") + 1
            whole, rest = (block, b"") if not end and len(block) > 8 * CHUNK else (block[:end], block[end:])
            if not whole.isascii():
                yield from (line for line in whole.split(b"\n") if not line.isascii())
    if not rest.isascii():
        yield rest


def _guessed(evidence: bytes) -> str:
    """windows-1252 unless the letters say otherwise: few of them fit many encodings equally well."""
    try:
        plain = evidence.decode("cp1252")
    except UnicodeDecodeError:
        plain = None
    foreign = plain is None or _FOREIGN.search(plain) is not None
    if not foreign and sum(b >= 0x80 for b in evidence) < 12:
        return "cp1252"
    found = from_bytes(evidence, cp_isolation=_USUAL).best()
    if found is None or (not foreign and _is_latin(str(found))):
        return "iso8859-1" if plain is None else "cp1252"
    return codecs.lookup(found.encoding).name


def _is_latin(text: str) -> bool:
    letters = (c for c in text if c > "\x7f" and c.isalpha() and c not in "ªºµ")
    return all(unicodedata.name(c, "").startswith("LATIN") for c in letters)
