"""Inputs for `soak_inputs`: a corpus of small datasets in every format, and what goes wrong with files.

A dataset is a mapping of file names to bytes. All that happens follows from a `random.Random`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

Files = dict[str, bytes]
Mutation = Callable[[random.Random, Files], None]

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
LINES = 25
"""Of each file of the sample: an input is to be cheap."""
ITEMS = [
    ("i1", 'Kettle 17" steel, 1.7 L', "Home > Kitchen > Kettles", "34.90", "2025-04-10"),
    ("i2", "Käse & Brot 🫖", "Home > Kitchen", "1299.00", "2025-04-11"),
    ("i3", "two\nlines; and 'marks'", "Toys", "", ""),
    ("i4", "غلاية كهربائية", "", "12.5", "2025-12-31"),
    ("i5", " plain|pipes\\ ", "Home > Garden", "7", "2025-01-02"),
    ("i6", "Blue mug", "Home > Kitchen > Mugs", "3.20", "2025-06-13"),
]
HEADER = ("item_id", "title", "category", "price", "created_at")
LOG = [("kettle", f"i{1 + n % 6}", ("impression", "click", "purchase", "view_item")[n % 4], n % 9) for n in range(24)]
SMALL = b"item_id,title\ni1,Kettle\ni2,Mug\ni3,Pan\nB01,Tray\n"
_ROLES = {"ubi": "interactions", "quepid": "judgments", "rre": "judgments", "rank_eval": "judgments", "ltr": "judgments",
          "qrels": "judgments", "search_relevance_workbench": "judgments"}  # fmt: skip


def table(rows: list[tuple[str, ...]], **dialect: object) -> str:
    """Rows as delimited text."""
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows(rows)  # type: ignore[arg-type]
    return text.getvalue()


@cache
def corpus() -> tuple[tuple[str, Files], ...]:
    """(kind, dataset): the sample, the cases, and a small catalogue and log in every format."""
    return tuple(_corpus())


def _corpus() -> Iterator[tuple[str, Files]]:
    sample = ROOT / "data" / "sample"
    yield (
        "sample",
        {p.name: b"".join(p.read_bytes().splitlines(keepends=True)[:LINES]) for p in sorted(sample.iterdir())},
    )
    for case in sorted(p for p in CASES.iterdir() if p.name != "formats"):
        yield (
            "sid" if case.name.startswith("sid-") else "cases",
            {p.name: p.read_bytes() for p in sorted(case.iterdir())},
        )
    for path in sorted((CASES / "formats").glob("*/*")):
        role = _ROLES.get(path.parent.name, "items")
        more = {"queries.csv": b"query_id,text\n1,kettle\n2,mug\n"} if path.parent.name == "qrels" else {}
        name = path.name if path.parent.name == "ubi" else f"{role}{path.suffix.replace('.qrels', '.txt')}"
        yield (
            path.parent.name,
            {"items.csv": SMALL, name: path.read_bytes()} | more if role != "items" else {name: path.read_bytes()},
        )

    rows = [HEADER, *ITEMS]
    text = table(rows)
    yield "csv", {"items.csv": text.encode()}
    yield "csv", {"Products.TXT": table(rows, delimiter=";", lineterminator="\n").encode("utf-8-sig")}
    yield "csv", {"items.tsv": table(rows, delimiter="\t", quoting=csv.QUOTE_ALL).encode("utf-16")}
    yield "csv", {"items.csv": table(rows, delimiter="|", lineterminator="\r").encode()}
    yield "csv", {"items.csv": table(rows, doublequote=False, escapechar="\\").encode()}
    yield "csv", {"items.csv": ("sep=;\n" + table(rows[:2], delimiter=";")).encode("cp1252")}
    yield "packed", {"items.csv.gz": gzip.compress(text.encode(), mtime=0)}
    yield "packed", {"items.csv.zip": zipped({"export.csv": text.encode()})}
    objects = [
        dict(zip(HEADER, row, strict=True)) | {"attributes": {"colour": "blue", "sizes": [1, 2]}} for row in ITEMS
    ]
    yield "json", {"items.jsonl": "\n".join(json.dumps(o, ensure_ascii=False) for o in objects).encode()}
    yield "json", {"items.json": json.dumps({"products": objects}, indent=1).encode()}
    yield "json", {"items.json": json.dumps({name: [o[name] for o in objects] for name in HEADER}).encode()}
    yield "parquet", {"items.parquet": parquet(objects)}
    vectors = [
        {**o, "image_embedding": [0.1, 0.2, n / 7], "text_embedding": [1.0, float(n)]} for n, o in enumerate(objects)
    ]
    yield "parquet", {"items.parquet": parquet(vectors), "queries.csv": b"query_id,text\nq1,kettle\nq2,mug\n"}
    yield "json", {"items.jsonl": "\n".join(json.dumps(o) for o in vectors).encode()}
    yield "workbook", {"items.xlsx": workbook(rows)}
    log = table([("query", "item_id", "event_type", "position"), *((q, i, e, str(p)) for q, i, e, p in LOG)]).encode()
    yield "log", {"items.csv": text.encode(), "events.csv": log}
    dated = table([("search_term", "product_id", "clicks", "views", "timestamp", "session_id"),
                   *((q, i, str(p % 2), str(p), f"{1 + p}/04/2025 1{p}:30", f"s{p}") for q, i, _, p in LOG)]).encode()  # fmt: skip
    yield "log", {"items.csv": text.encode(), "searchlog.csv": dated}
    words = ("Exact", "Substitute", "Complement", "Irrelevant")
    for grades in (words, ("3", "2,5", "1", "0"), ("1", "0", "", "1")):
        judged = table([("query", "docid", "rating"), *((q, i, grades[p % 4]) for q, i, _, p in LOG)])
        yield "judgments", {"items.csv": text.encode(), "ratings.csv": judged.encode()}
    prices = ("$1,299.00", "12,50 EUR", "1.299", "1 299,00", "N/A", "€12")
    yield (
        "csv",
        {"items.csv": table([HEADER, *((*r[:3], p, r[4]) for r, p in zip(ITEMS, prices, strict=True))]).encode()},
    )
    shopify = [("Handle", "Title", "Body (HTML)", "Vendor", "Type", "Variant SKU", "Variant Price"),
               ("mug", "Mug", "<p>A &amp; B</p>", "V", "Cups", "m-1", "3.5"), ("mug", "", "", "", "", "m-2", "4"),
               ("pan", "Pan", "", "V", "Pans", "p-1", "9"), ("pan", "", "", "", "", "", "")]  # fmt: skip
    yield "shop", {"products_export.csv": table(shopify).encode()}
    woo = [("ID", "Type", "SKU", "Name", "Regular price", "Categories", "Parent"), ("1", "variable", "s", "Shirt", "5", "Wear > Tops, Sale", ""),
           ("2", "variation", "s-1", "Shirt - red", "5", "", "s"), ("3", "simple", "h", "Hat", "7", "Wear > Hats", "")]  # fmt: skip
    yield "shop", {"wc-product-export.csv": table(woo).encode("utf-8-sig")}
    yield "adapter", {
        "product.csv": b"product_id\tproduct_name\tproduct_class\tcategory hierarchy\tproduct_description\tproduct_features\t"
        b"rating_count\taverage_rating\treview_count\n0\tbunk bed\tBeds\tFurniture / Beds\tsturdy\tcolor : red\t15.0\t4.5\t12.0\n",
        "query.csv": b"query_id\tquery\tquery_class\n0\tbunk bed\tBeds\n", "label.csv": b"id\tquery_id\tproduct_id\tlabel\n0\t0\t0\tExact\n",
    }  # fmt: skip
    audited = {"items.csv": SMALL, "sids.csv": b"item_id,code_1,code_2\ni1,1,2\ni2,1,3\ni3,4,5\nB01,4,6\n"}
    judged = table(
        [("query", "item_id", "grade"), *((q, f"i{n}", str(n % 4)) for q in ("kettle", "mug") for n in (1, 2, 3))]
    ).encode()
    scores = table([("query", "item_id", "score", "score_without_sid"),
                    *((q, i, f"{n / 7:.3f}", f"{n / 9:.3f}") for q in ("kettle", "mug") for n, i in enumerate(("i1", "i2", "i3", "B01")))]).encode()  # fmt: skip
    yield "audited", {**audited, "judgments.csv": judged, "scores.csv": scores, "interactions.csv": log}
    yield "sid", {**audited, "beams.csv": b"query,rank,sid,log_prob\nkettle,1,1-2,-0.5\nkettle,2,1-3,-1.5\n"}


def zipped(files: Files) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def parquet(rows: list[dict[str, object]]) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def workbook(rows: list[tuple[str, ...]]) -> bytes:
    """An Excel workbook, the same at any time."""
    out, book = io.BytesIO(), openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(out)
    with zipfile.ZipFile(out) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    dated = "docProps/core.xml"
    return zipped(parts | {dated: re.sub(rb"\d{4}-\d\d-\d\dT[\d:]+Z", b"2025-01-01T00:00:00Z", parts[dated])})


# ---------------------------------------------------------------- what goes wrong


def _pick(rng: random.Random, files: Files) -> str:
    return rng.choice(sorted(name for name in files if name != "dataset.toml") or [*files])


def _bytes(change: Callable[[random.Random, bytes], bytes]) -> Mutation:
    """A change of one file's bytes; one in three is made inside a packed file, which is packed again."""

    def mutate(rng: random.Random, files: Files) -> None:
        name = _pick(rng, files)
        if name.endswith(".gz") and rng.random() < 0.67:
            try:
                files[name] = gzip.compress(change(rng, gzip.decompress(files[name])), mtime=0)
                return
            except (OSError, EOFError, zlib.error):  # no longer one
                pass
        files[name] = change(rng, files[name])

    mutate.__name__ = change.__name__.strip("_")
    return mutate


def _lines(change: Callable[[random.Random, list[bytes]], object]) -> Mutation:
    def mutate(rng: random.Random, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True) or [b""]
        change(rng, lines)
        return b"".join(lines)

    mutate.__name__ = change.__name__
    return _bytes(mutate)


ODD = (b"\0", b'"', b"'", b"\\", b",", b";", b"\t", b"|", b"\r", b"\n", b"\r\n", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xed\xa0\x80",
       b"{", b"}", b"[", b"]", b"<", b"&", b":", b"#", b"\x1a", b"\x1f\x8b", b"PK\x03\x04", b"PAR1", b"\xe2\x80\xae", b"\xc2\xa0",
       b"\xf0\x9f\xab\x96", b"NaN", b"1e999", b"-1", b"null", b"\\ud83d", b"9" * 400, b"&#0;", b"&#x110000;", b"=1+1", b" > ", b"\xc2\x85")  # fmt: skip


@_bytes
def _flip(rng: random.Random, content: bytes) -> bytes:
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 3, 20))):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


@_bytes
def _insert(rng: random.Random, content: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 3, 20))):
        at = rng.randint(0, len(content))
        content = content[:at] + rng.choice(ODD) + content[at:]
    return content


@_bytes
def _delete(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + content[at + rng.choice((1, 1, 4, 30)) :]


@_bytes
def _truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randint(0, len(content))]


@_bytes
def _repeat(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    end = min(len(content), at + rng.randint(1, 400))
    return content[:end] + content[at:end] * rng.choice((1, 3, 50)) + content[end:]


@_lines
def _swap_lines(rng: random.Random, lines: list[bytes]) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


@_lines
def _double_line(rng: random.Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    lines[at:at] = lines[at : at + 1] * rng.choice((1, 2, 40))


@_lines
def _drop_line(rng: random.Random, lines: list[bytes]) -> None:
    del lines[rng.choice((0, rng.randrange(len(lines))))]


@_lines
def _blank_lines(rng: random.Random, lines: list[bytes]) -> None:
    lines.insert(
        rng.randint(0, len(lines)),
        rng.choice((b"\n", b"\r\n", b"  \n", b",,,,\n", b";;\n", b"\t\n", b'""\n', b"# comment\n")),
    )


@_bytes
def _separator(rng: random.Random, content: bytes) -> bytes:
    return content.replace(rng.choice((b",", b";", b"\t", b"|", b":")), rng.choice((b",", b";", b"\t", b"|", b"\x01", b"  ", b"~")), rng.choice((-1, 1, 5)))  # fmt: skip


@_bytes
def _line_ends(rng: random.Random, content: bytes) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b")), rng.choice((-1, -1, 2)))  # fmt: skip


@_bytes
def _encoding(rng: random.Random, content: bytes) -> bytes:
    text = content.decode(rng.choice(("utf-8", "latin-1")), "replace")
    return text.encode(rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "shift_jis", "cp1251", "utf-7", "cp500")), "replace")  # fmt: skip


@_bytes
def _two_encodings(rng: random.Random, content: bytes) -> bytes:
    half = rng.randint(0, len(content))
    return content[:half] + content[half:].decode("utf-8", "replace").encode(
        rng.choice(("cp1252", "utf-16-le", "shift_jis")), "replace"
    )


@_lines
def _columns(rng: random.Random, lines: list[bytes]) -> None:
    """A column less, more, twice, empty or elsewhere, in all lines alike."""
    mark = max((b",", b";", b"\t", b"|"), key=lines[0].count)
    width = lines[0].count(mark) + 1
    at, to, how = rng.randrange(width), rng.randrange(width), rng.choice(("drop", "twice", "empty", "move", "name"))
    for n, line in enumerate(lines):
        body = line.rstrip(b"\r\n")
        values, end = body.split(mark), line[len(body) :]
        if len(values) != width:
            continue
        if how == "drop":
            del values[at]
        elif how == "twice":
            values.insert(to, values[at])
        elif how == "empty" and n:
            values[at] = b""
        elif how == "move":
            values[at], values[to] = values[to], values[at]
        elif how == "name" and not n:
            values[at] = rng.choice((b"rowid", b"_row", b"c1", b"", b" ", b'"', b"select", b"line", b"query", b"grade", b"text_embedding", b"price", b"category", b"x" * 5000, values[at].upper()))  # fmt: skip
        lines[n] = mark.join(values) + end


@_lines
def _values(rng: random.Random, lines: list[bytes]) -> None:
    """One value in some lines becomes something else."""
    odd = (b"", b" ", b"N/A", b"nan", b"NULL", b"-", b"-5", b"1e400", b"1,5", b"1.234", b"12:30", b"2025-13-45", b"99999-01-01", b"0000-00-00",
           b"1714000000", b"999999999999999999", b"[1, 2", b"[]", b"{}", b'{"a": 1}', b"true", b"0x10", b"\xe2\x88\x9e", b"A|B", b"A > B > C" * 9, b"1001.0",
           b"'", b'"', b"{line}", b"%s", b"01/02/2025", b"inf", b"<b>", b"&lt;", b"[1,2,3]", b"0-0", b"1e-320", b"[NaN, 1e39]")  # fmt: skip
    mark = max((b",", b";", b"\t", b"|"), key=lines[0].count)
    at, value = rng.randrange(lines[0].count(mark) + 1), rng.choice(odd)
    every = rng.random() < 0.3
    for n, line in enumerate(lines[1:], start=1):
        body = line.rstrip(b"\r\n")
        values = body.split(mark)
        if at < len(values) and (every or rng.random() < 0.2):
            values[at] = value
            lines[n] = mark.join(values) + line[len(body) :]


@_lines
def _huge_field(rng: random.Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    place = rng.randint(0, len(lines[at]))
    lines[at] = lines[at][:place] + rng.choice((b"x", b"ab ", b'"', b"\\", b"[", b",", b"&")) * rng.choice((2_000, 100_000, 1_000_000)) + lines[at][place:]  # fmt: skip


@_lines
def _many_columns(rng: random.Random, lines: list[bytes]) -> None:
    mark, n = max((b",", b";", b"\t", b"|"), key=lines[0].count), rng.choice((50, 300, 1500))
    for row, line in enumerate(lines):
        body = line.rstrip(b"\r\n")
        more = (b"%cx%d" % (mark, c) if not row else mark for c in range(n))
        lines[row] = body + b"".join(more) + line[len(body) :]
        if row and rng.random() < 0.1:
            break


@_lines
def _quotes(rng: random.Random, lines: list[bytes]) -> None:
    at = rng.randrange(len(lines))
    mark = max((b",", b";", b"\t", b"|"), key=lines[0].count)
    lines[at] = lines[at].replace(mark, rng.choice((mark + b'"', b'"' + mark, mark + b"'", b'\\"' + mark, mark + b'""')), rng.choice((1, 2, -1)))  # fmt: skip


@_bytes
def _nested(rng: random.Random, content: bytes) -> bytes:
    """JSON or XML inside itself."""
    depth = rng.choice((2, 20, 500, 3000))
    open_, close = rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'{"products":', b"}"), (b"<item>", b"</item>")))
    at = rng.choice((0, rng.randint(0, len(content))))
    return content[:at] + open_ * depth + content[at:] + close * rng.choice((depth, depth - 1, 0))


@_bytes
def _json_values(rng: random.Random, content: bytes) -> bytes:
    """Values of JSON become other ones, or names of it others."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        lines = content.split(b"\n")
        at = rng.randrange(len(lines))
        lines[at] = _json_line(rng, lines[at])
        return b"\n".join(lines)
    return json.dumps(_json_changed(rng, document), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _json_line(rng: random.Random, line: bytes) -> bytes:
    try:
        return json.dumps(_json_changed(rng, json.loads(line))).encode()
    except (ValueError, RecursionError):
        return line


def _json_changed(rng: random.Random, node: object) -> object:
    odd = (None, True, 0, -1.5, 1e308, 10**400, "", " ", "x", [], {}, [None], [[]], {"": 1}, {"a": {"b": {}}}, [1, "a"], float("nan"), "\ud83d", "\0", {"_id": 1}, [{}])  # fmt: skip
    if rng.random() < 0.08 or not isinstance(node, dict | list) or not node:
        return rng.choice(odd) if rng.random() < 0.6 else node
    if isinstance(node, list):
        at = rng.randrange(len(node))
        return [_json_changed(rng, each) if n == at else each for n, each in enumerate(node)]
    key = rng.choice(list(node))
    other = (
        rng.choice(("", " ", "item_id", "_id", "_source", "query", "a.b", 'a"b', "ratings", "hits", "index"))
        if rng.random() < 0.1
        else key
    )
    return {(other if name == key else name): _json_changed(rng, v) if name == key else v for name, v in node.items()}


# ---------------------------------------------------------------- of whole files


def _wrong_ending(rng: random.Random, files: Files) -> None:
    name = _pick(rng, files)
    stem = name.partition(".")[0]
    ending = rng.choice((".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xlsx", ".xml", ".txt", ".csv.gz", ".CSV", ".zip", ".csv.zip", ".pq", "", ".NDJSON", ".json.gz"))  # fmt: skip
    files[stem + ending] = files.pop(name)


def _other_name(rng: random.Random, files: Files) -> None:
    content = files.pop(_pick(rng, files))
    files[rng.choice(("items", "Products", "judgments", "interactions", "queries", "sids", "beams", "data", "it's", "a b;c", "ümlaut", "[x]*", "%s {0}")) + ".csv"] = content  # fmt: skip


def _mixed(rng: random.Random, files: Files) -> None:
    """Files of another dataset join."""
    for name, content in rng.choice(corpus())[1].items():
        files.setdefault(name, content)


def _lost(rng: random.Random, files: Files) -> None:
    del files[_pick(rng, files)]


def _packed(rng: random.Random, files: Files) -> None:
    name = _pick(rng, files)
    content = files.pop(name)
    if rng.random() < 0.5:
        files[f"{name}.gz"] = gzip.compress(content, mtime=0)
    else:
        files[f"{name}.zip"] = zipped({name: content} | ({"more.csv": b"a\n"} if rng.random() < 0.2 else {}))


def _cut_packed(rng: random.Random, files: Files) -> None:
    _packed(rng, files)
    name = rng.choice([n for n in files if n.endswith((".gz", ".zip"))])
    files[name] = files[name][: rng.randint(0, len(files[name]))]


def _spreadsheet(rng: random.Random, files: Files) -> None:
    """A damaged workbook of damaged rows."""
    odd = (None, "", "x", 0, 1.5, 1e300, True, "#N/A", "=1/0", "=A1", " ", "item_id")
    rows = [HEADER, *ITEMS]
    changed = [tuple(rng.choice(odd) if rng.random() < 0.1 else v for v in row) for row in rows]
    files["items.xlsx"] = workbook(changed)  # type: ignore[arg-type]


def _settings(rng: random.Random, files: Files) -> None:
    """A `dataset.toml` that says something, of the right type or not."""
    said = {
        "name": ('"x"', '" "', "1"), "max_grade": ("1", "0", "-1", '"3"', "1e400", "nan", "5"), "relevant_grade": ("1", "9", "nan", "0.5"),
        "category_separator": ('" > "', '""', '"/"', '">"', "'a.b*'", '"\'"'), "derived": ("[]", '["category"]', '["x"]', "[1]", '"category"'),
        "language": ('"de"', '"none"', '"xx"', "1"), "currency": ('"EUR"', "1"), "grades_after": ('"2025-04-01"', '"x"', "2025-04-01"), "unknown": ("1",),
    }  # fmt: skip
    read = {
        "encoding": ('"cp1252"', '"utf-16"', '"utf8"', '"nope"', '"rot13"', '"base64"', '"idna"', '"utf-7"', '"mbcs"', '"shift_jis"', '""', '"punycode"', '"unicode_escape"', '"zip"'),
        "delimiter": ('","', '";"', '"\\t"', '""', '"ab"', '"\\""', '"é"', '"\\n"', '"x"', '" "', '"\\u0000"', '"\\\\"'), "quote": ('"\\""', '"\'"', '""', '"ab"', '","', '"é"', '"\\n"', '"\\u0000"', '" "'),
        "header": ('["item_id", "title"]', "[]", '["item_id"]', '["item_id", "title", "category", "price", "created_at"]', "[1]", '["", ""]', '["item_id", "item_id"]'),
        "decimal": ('","', '"."', '"x"'), "day_first": ("true", "false", "1"), "several_paths": ("true", "false"), "position_base": ("0", "1", "2"),
        "events": ('{view_item = "click"}', '{view_item = "x"}', "{}", '{"" = "click"}'), "sid_suffix": ('"drop"', '"level"', '"x"'),
    }  # fmt: skip
    columns = {"title": ('"title"', '"nope"', '"TITLE"', "1", '"item_id"', '""'), "item_id": ('"item_id"', '"title"', '"id"'), "grade": ('"rating"',), "nope": ('"x"',), "price": ('"title"', '"created_at"'), "category": ('"item_id"',)}  # fmt: skip

    def some(table: dict[str, tuple[str, ...]], n: int) -> str:
        return "".join(f"{key} = {rng.choice(table[key])}\n" for key in rng.sample(sorted(table), n))

    text = some(said, rng.choice((0, 0, 1, 2)))
    text += rng.choice(("[read]\n", "[read]\n", "[read.items]\n", "[read.judgments]\n")) + some(
        read, rng.choice((1, 1, 2, 3))
    )
    if rng.random() < 0.4:
        text += rng.choice(("[columns]\n", "[columns.items]\n", "[columns.judgments]\n")) + some(
            columns, rng.choice((1, 2))
        )
    files["dataset.toml"] = text.encode()


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _insert, _delete, _truncate, _repeat, _swap_lines, _double_line, _drop_line, _blank_lines, _separator, _line_ends, _encoding,
    _two_encodings, _columns, _values, _values, _huge_field, _many_columns, _quotes, _nested, _json_values, _json_values, _wrong_ending,
    _other_name, _mixed, _lost, _packed, _cut_packed, _spreadsheet, _settings, _settings,
)  # fmt: skip


def mutated(seed: int, number: int, kinds: tuple[str, ...] = ()) -> tuple[str, list[str], Files]:
    """(kind, names of the mutations, files) of the number-th input of a seed, of all `kinds` where none are named: one to
    three things went wrong."""
    rng = random.Random(f"{seed}/{number}")
    chosen = [case for case in corpus() if case[0] in kinds] or corpus()
    kind, whole = chosen[number % len(chosen)]
    files, done = dict(whole), []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
        mutation = rng.choice(MUTATIONS)
        if files:
            mutation(rng, files)
            done.append(mutation.__name__.strip("_"))
    return kind, done, files
