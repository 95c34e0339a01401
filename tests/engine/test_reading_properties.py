"""Random tables in every dialect and style that people write: read back equal, or refused with a reason that is true."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pandas import DataFrame

from engine.datasets.ingest import ingest
from engine.datasets.reading.decisions import Doubt
from engine.datasets.reading.grades import _SCALES
from engine.datasets.reading.interpretation import NO_TITLE

Some = Callable[[st.SearchStrategy[Any]], Any]


def some(examples: int) -> Any:
    """The same examples every time: the suite is to be quick and quiet."""
    return settings(
        max_examples=examples,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class Read(NamedTuple):
    """What was made of some files, or asked of their owner."""

    items: DataFrame = DataFrame()
    judgments: DataFrame = DataFrame()
    log: DataFrame = DataFrame()
    max_grade: float = 0.0
    skipped: int = 0
    doubt: str = ""


def read(files: dict[str, bytes], toml: str = "") -> Read:
    """What `ingest` makes of some files, of which every row and value is sound."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "shop"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        if toml:
            (folder / "dataset.toml").write_text(toml, encoding="utf-8")
        try:
            done = ingest(folder, Path(scratch) / "ws", max_reject_share=0)
        except Doubt as doubt:
            return Read(doubt=str(doubt))
        assert not done.report.issues
        found, skipped = done.catalogue, sum(n for _, _, n in done.report.skipped)
        log = found.interactions[found.interactions["source"] == "log"]
        return Read(found.items, found.judgments, log, found.settings.max_grade, skipped)


def table(header: list[str], rows: list[list[str]], **dialect: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, **{"lineterminator": "\n", **dialect}).writerows([header, *rows])
    return text.getvalue().encode()


def items(**columns: list[str]) -> bytes:
    n = len(next(iter(columns.values())))
    rows = zip([f"i{k}" for k in range(n)], ["Kettle"] * n, *columns.values(), strict=True)
    return table(["item_id", "title", *columns], [list(row) for row in rows])


# ---------------------------------------------------------------- dialects


class Written(NamedTuple):
    """A table and how it is written."""

    rows: list[list[str]]  # Id, title, price, category.
    name: str
    content: bytes
    how: str


LETTERS = st.sampled_from(
    [
        *"abcXYZ 019.-'\"`,;\t|\\/<>=#äßé€",
        "\n",
        "\r\n",
        "🫖",
        "👩‍🍳",
        "غ",
        "ל",
        "日",
        "\u202b",
        "\u00a0",
        "\ufeff",
        '""',
        '\\"',
    ]
)
SPEECH = {
    "cp1252": "Wärmflasche für Bücherwürmer|Théière émaillée à l'ancienne|Größe: 12 €|Señor Niño, gebürstet|Fön “süß” – weiß",
    "shift_jis": "ステンレス製の電気ケトル|青いマグカップと皿のセット|子供用の木のおもちゃ|日本の伝統的な鉄の急須|台所用の小さな鍋",
    "cp1251": "Чайник электрический из нержавеющей стали|Кружка синяя большая|Игрушка деревянная для детей|Сковорода чугунная, с крышкой",
}
"""What people write in each encoding: which one it is can only be told from language."""
HEADERS = [
    ["item_id", "title", "price", "category"], ["ITEM_ID", "Title", "Price", "CATEGORY"], ["Product ID", "Product Name", "Regular price", "Categories"],
    ["sku", "name", "list_price", "product_type"], ["Artikelnummer", "Bezeichnung", "Preis", "Kategorie"],
]  # fmt: skip
QUOTING = {
    "minimal": {"quoting": csv.QUOTE_MINIMAL}, "all": {"quoting": csv.QUOTE_ALL},
    "backslash": {"quoting": csv.QUOTE_ALL, "doublequote": False, "escapechar": "\\"}, "none": {"quoting": csv.QUOTE_NONE, "quotechar": None},
}  # fmt: skip


@st.composite
def written(draw: Some) -> Written:
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", *SPEECH]))
    separator, quoting = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(sorted(QUOTING)))
    if encoding in SPEECH:
        titles = draw(st.lists(st.sampled_from(SPEECH[encoding].split("|")), min_size=4, max_size=12))
    else:
        titles = draw(st.lists(st.lists(LETTERS, min_size=1, max_size=12).map("".join), min_size=1, max_size=8))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    if quoting == "minimal" and end == "\r":  # The writer would leave them without marks.
        titles = [title.replace("\n", "") for title in titles]
    if quoting == "backslash":  # Without one before a mark nobody can tell that others mean themselves.
        titles = [title.replace("\\", "") for title in titles]
    if quoting == "none":
        titles = [title.translate(dict.fromkeys(map(ord, f"{separator}\"'\r\n"))) for title in titles]
    assume(all(title.strip() and title.strip("\ufeff\u202b \t\r\n\xa0") and title not in NO_TITLE for title in titles))
    prices = draw(st.lists(st.integers(0, 99_999), min_size=len(titles), max_size=len(titles)))
    kinds = draw(
        st.lists(
            st.sampled_from(["", "Home > Kitchen", "Home > Garden", "Toys"]), min_size=len(titles), max_size=len(titles)
        )
    )
    rows = [
        [f"id-{n}", title, f"{price / 100:.2f}", kind]
        for n, (title, price, kind) in enumerate(zip(titles, prices, kinds, strict=True))
    ]
    before = draw(st.sampled_from(["", "", "", f"{end}{end}", f"sep={separator}{end}"]))
    text = (
        before
        + table(
            draw(st.sampled_from(HEADERS)), rows, delimiter=separator, lineterminator=end, **QUOTING[quoting]
        ).decode()
    )
    packed = draw(st.sampled_from(["", "", ".gz", ".zip"]))
    name = f"items.{draw(st.sampled_from(['csv', 'CSV', 'txt', 'tsv']))}{packed}"
    content = text.encode(encoding)
    if packed == ".gz":
        content = gzip.compress(content)
    elif packed:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("export.csv", content)
        content = out.getvalue()
    return Written(rows, name, content, f"{encoding}, {separator!r}, {quoting}, {end!r}, before: {before!r}\n{text!r}")


@given(written())
@some(120)
def test_a_table_in_any_dialect_is_read_as_it_was(given: Written) -> None:
    found = read({given.name: given.content}).items
    assert found["item_id"].tolist() == [row[0] for row in given.rows], given.how
    assert found["title"].tolist() == [row[1] for row in given.rows], given.how
    assert found["price"].tolist() == [float(row[2]) for row in given.rows], given.how
    assert found["category"].where(found["category"].notna(), "").tolist() == [row[3] for row in given.rows], given.how


# ---------------------------------------------------------------- numbers


def _grouped(by: str, point: str, pattern: str = "{}") -> Callable[[int], str]:
    return lambda cents: pattern.format(f"{cents // 100:,}".replace(",", by) + f"{point}{cents % 100:02}")


STYLES: dict[str, tuple[Callable[[int], str], str]] = {
    "1299.00": (_grouped("", "."), "."), "1299,00": (_grouped("", ","), ","), "1.299,00": (_grouped(".", ","), ","),
    "1 299,00": (_grouped(" ", ","), ","), "1\u202f299,00": (_grouped("\u202f", ","), ","), "1'299.00": (_grouped("'", "."), "."),
    "1,299.00": (_grouped(",", "."), "."), "$1,299.50": (_grouped(",", ".", "${}"), "."), "12,50 EUR": (_grouped("", ",", "{} EUR"), ","),
    "1.299,00 €": (_grouped(".", ",", "{} €"), ","), "€12": (lambda cents: f"€{cents // 100}", "."), "1,299": (lambda cents: f"{cents // 100:,}", "."),
    "1.299": (lambda cents: f"{cents // 100:,}".replace(",", "."), ","), "1.5": (lambda cents: f"{cents / 100:.15g}", "."),
    "1,5": (lambda cents: f"{cents / 100:.15g}".replace(".", ","), ","), "1.250": (lambda cents: f"{cents // 100}.{cents % 100:02}0", "."),
}  # fmt: skip
"""How people write prices -> (from cents, its decimal sign)."""
WHOLE = ("€12", "1,299", "1.299")


@given(st.sampled_from(sorted(STYLES)), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
@some(45)
def test_prices_in_one_style_are_read_so_or_the_doubt_names_what_settles_it(style: str, cents: list[int]) -> None:
    write, sign = STYLES[style]
    value = [c // 100 if style in WHOLE else c / 100 for c in cents]
    given = {"items.csv": items(price=[write(c) for c in cents])}
    found = read(given)
    if found.doubt:
        assert f'decimal = "{sign}"' in found.doubt
    else:
        assert found.items["price"].tolist() == value
    assert read(given, f'[read]\ndecimal = "{sign}"\n').items["price"].tolist() == value


# ---------------------------------------------------------------- dates

DAYS = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31)).map(lambda d: d.replace(microsecond=0))
FORMATS = {
    "%Y-%m-%d": None, "%Y-%m-%d %H:%M:%S": None, "%Y-%m-%dT%H:%M:%SZ": None, "%Y-%m-%dT%H:%M:%S+00:00": None, "%Y/%m/%d": None, "%Y.%m.%d": None,
    "%d.%m.%Y": True, "%d.%m.%Y %H:%M": True, "%d/%m/%Y": True, "%m/%d/%Y": False, "%d/%m/%Y %H:%M:%S": True, "%m/%d/%Y %I:%M %p": False,
    "%d-%m-%Y": True, "%m-%d-%y": False, "%d/%m/%y": True, "%d %b %Y": None, "%B %d, %Y": None, "%a, %d %b %Y %H:%M:%S": None, "%Y%m%d": None,
    "seconds": None, "milliseconds": None,
}  # fmt: skip
"""Format -> whether the day comes first; None where it cannot be mistaken."""


@given(st.sampled_from(sorted(FORMATS)), st.lists(DAYS, min_size=1, max_size=6))
@some(50)
def test_dates_in_one_format_are_read_so_or_the_doubt_names_what_settles_it(form: str, days: list[datetime]) -> None:
    if form in ("seconds", "milliseconds"):
        days = [max(d, datetime(2001, 9, 10)) for d in days]  # nine digits and fewer may be anything
        texts = [str(int((d - datetime(1970, 1, 1)).total_seconds()) * (1000 if form[0] == "m" else 1)) for d in days]
        expected = days
    else:
        texts = [d.strftime(form) for d in days]
        expected = [datetime.strptime(text, form).replace(tzinfo=None) for text in texts]
    given = {"items.csv": items(created_at=texts)}
    first = FORMATS[form]
    found = read(given)
    if found.doubt:
        assert first is not None
        assert "day_first = true" in found.doubt
        assert "day_first = false" in found.doubt
        found = read(given, f"[read]\nday_first = {json.dumps(first)}\n")
    assert found.items["created_at"].tolist() == expected


# ---------------------------------------------------------------- categories

WORDS = (
    st.text("abcdeGHIéü0 +-", min_size=1, max_size=9)
    .map(lambda w: w.strip(" -"))
    .filter(lambda w: w.strip("+- 0") and "  " not in w)
)
BETWEEN = [" > ", ">", " >> ", " » ", " / ", "/", "|", " | ", "::", "\\", ";"]


@given(
    st.sampled_from(BETWEEN),
    st.lists(
        st.tuples(st.sampled_from("AB"), st.lists(WORDS, min_size=1, max_size=3)), min_size=4, max_size=9, unique_by=str
    ),
)
@some(24)
def test_categories_keep_their_levels_whatever_separates_them(
    separator: str, drawn: list[tuple[str, list[str]]]
) -> None:
    paths = [[{"A": "Home", "B": "Garden tools"}[root], *levels] for root, levels in drawn]
    given = {"items.csv": items(category=[separator.join(path) for path in paths])}
    assert read(given).items["category"].tolist() == [" > ".join(path) for path in paths]
    stated = read(given, f"category_separator = {json.dumps(separator)}\n").items["category"].tolist()
    assert [value.split(separator) for value in stated] == paths


@given(st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=6))
@some(10)
def test_lists_are_paths(paths: list[list[str]]) -> None:
    found = read({"items.csv": items(category=[json.dumps(path) for path in paths])}).items["category"]
    assert found.tolist() == [" > ".join(path) for path in paths]


# ---------------------------------------------------------------- grades, ids, events


@given(st.sampled_from(_SCALES), st.data())
@some(20)
def test_words_of_a_scale_become_its_numbers(scale: dict[str, int], data: st.DataObject) -> None:
    words = [*scale, *data.draw(st.lists(st.sampled_from(sorted(scale)), max_size=6))]
    style = data.draw(st.sampled_from([str.title, str.upper, str.lower, lambda w: w.replace(" ", "_")]))
    rows = [["kettle", f"i{n}", style(word)] for n, word in enumerate(words)]
    given = {"items.csv": items(price=["1"] * len(words)), "judgments.csv": table(["query", "item_id", "grade"], rows)}
    found = read(given)
    assert found.judgments["grade"].tolist() == [scale[word] for word in words]
    assert found.max_grade >= max(scale.values())


@given(st.lists(st.integers(0, 5), min_size=2, max_size=8), st.sampled_from(["{}", "{}.0", "{},0", " {}"]))
@some(12)
def test_grades_in_numbers_are_read_whatever_their_point(grades: list[int], pattern: str) -> None:
    rows = [["kettle", f"i{n}", pattern.format(grade)] for n, grade in enumerate(grades)]
    given = {"items.csv": items(price=["1"] * len(grades)), "judgments.csv": table(["query", "item_id", "grade"], rows)}
    assert read(given).judgments["grade"].tolist() == grades


@given(
    st.lists(st.integers(1, 10**9), min_size=1, max_size=8, unique=True),
    st.sampled_from(["{}.0", "{}.00", "{:012d}", " {}", "products/{}", "{}"]),
)
@some(16)
def test_ids_written_in_two_ways_are_one(ids: list[int], pattern: str) -> None:
    catalog = table(["item_id", "title"], [[str(i), "Kettle"] for i in ids])
    judged = table(
        ["query", "item_id", "grade"], [["kettle", pattern.format(i), str(n % 2)] for n, i in enumerate(ids)]
    )
    assert read({"items.csv": catalog, "judgments.csv": judged}).judgments["item_id"].tolist() == [str(i) for i in ids]


KINDS = {
    "impressions": ["impression", "Shown", "view_item_list"], "clicks": ["click", "select_item", "Product Clicked"],
    "purchases": ["purchase", "ORDER", "Order Completed"],
}  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=12),
    st.booleans(),
)
@some(20)
def test_events_count_as_what_they_are_and_positions_from_one(
    events: list[tuple[str, int, int]], from_zero: bool
) -> None:
    positions = [p + (not from_zero) for _, _, p in events]
    # An impression beside every click, so that clicks need not count as impressions too.
    rows = [
        ["kettle", f"i{n}", KINDS[kind][word], str(p)]
        for n, ((kind, word, _), p) in enumerate(zip(events, positions, strict=True))
    ]
    rows += [["kettle", f"i{n}", "impression", str(p)] for n, p in enumerate(positions)]
    rows += [["kettle", "i0", "click", str(positions[0])], ["kettle", "i0", "scroll", ""]]
    given = {
        "items.csv": items(price=["1"] * len(events)),
        "events.csv": table(["query", "item_id", "event_type", "position"], rows),
    }
    done = read(given, f"[read]\nposition_base = {int(not from_zero)}\n" if from_zero and 0 not in positions else "")
    log = done.log
    told = [kind for kind, *_ in events] + ["impressions"] * len(events) + ["clicks"]
    for count in KINDS:
        if count in {kind for kind in told}:
            assert log[count].fillna(0).tolist() == [float(kind == count) for kind in told], count
    assert log["position"].tolist() == [p + from_zero for p in [*positions, *positions, positions[0]]]
    assert done.skipped == 1


@pytest.mark.parametrize(
    "option", ['encoding = "zlib"', 'quote = "\\n"', 'delimiter = ""', "header = []", 'delimiter = ";"\nquote = ";"']
)
def test_options_that_read_nothing_are_refused(option: str) -> None:
    with pytest.raises(Exception, match=r"dataset.toml: \[read\]"):
        read({"items.csv": items(price=["1"])}, f"[read]\n{option}\n")
