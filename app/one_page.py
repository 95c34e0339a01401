"""The one-page answer to "why am I seen less?": the same sentences for the screen, for paper, and as one HTML file.

python -m engine report --of "seller=NAME" --out answer.html      the same from the command line

Everything is plain text made from rows of the snapshot; whoever shows it escapes it.
"""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

import pandas as pd

from app import text
from app.causes import named, sentence
from app.exposure import Ask, found, plural_name, prepared, resolved
from app.near import alike
from app.queries import sellers as queries
from app.queries import snapshot
from engine.audit.exposure import TOO_SMALL
from engine.errors import ConfigError, shown

EXAMPLES = 3
"""Examples, queries and codes named."""
BARS = 8
"""Parts of the change drawn."""


class Number(NamedTuple):
    """One headline number with what it rests on."""

    label: str
    value: str
    note: str
    define: str  # A key of `text.DEFINITIONS`.


class Section(NamedTuple):
    """A heading and its lines."""

    title: str
    lines: list[str]


class OnePage(NamedTuple):
    """The whole answer."""

    kind: str  # 'Seller'.
    title: str
    answer: str
    numbers: list[Number]
    sections: list[Section]
    bars: list[tuple[str, float]]
    """What moved its items, largest first: name and percentage points."""
    foot: list[str]


def collect(ask: Ask, run_id: str, snapshot_id: str, dimension: str, discount: str, row: pd.Series) -> OnePage:
    """The answer for one row of `app.exposure.prepared`."""
    value, change = str(row["value"]), float(row["difference"])
    made = ask(queries.change, run_id, dimension, value, discount)
    rows = named(ask(queries.causes, run_id, dimension, value, discount))
    signal, codes = rows[rows["told"] == "signal"], rows[rows["told"] == "prefix"]
    causes = []
    if len(signal):
        causes = [sentence(signal)]
    elif len(made.by_query):
        imported = ask(snapshot.missing_files, run_id) is not None
        causes = [_NOT_TOLD + (_IMPORTED if imported else "") + "."]
    moved = example_lines(examples(made.items, change))
    concentrated = queries_line(made.by_query, change)
    ledger = ledger_lines(ask(queries.ledger, run_id, dimension, value))
    sections = [
        Section("What caused it", causes),
        Section(f"{EXAMPLES} examples" if len(moved) == EXAMPLES else "Examples", moved),
        Section("Codes through which most of it went", code_lines(codes, change)),
        Section("What would change it", [concentrated, *ledger] if concentrated else ledger),
    ]
    foot = [
        f"{text.shortened(ask(snapshot.info)['dataset'], 80)}, run {run_id}, snapshot {snapshot_id}. A place counts by {discount}: {text.DEFINITIONS['discount']}",
        text.WHAT_IS_A_SID, *(text.DEFINITIONS[key] for key in ("exposure_change", "effective_n", "merit", "cause")),
    ]  # fmt: skip
    attribute = text.shortened(dimension.removeprefix(queries.ATTRIBUTE), 40)
    kind = text.DIMENSION_NAME.get(dimension, text.sentence(attribute))
    bars = [(str(r["name"]), 100 * float(r["net"])) for r in signal.head(BARS).to_dict("records")]
    return OnePage(kind, value, answer(kind, value, row), numbers(row), sections, bars, foot)


_NOT_TOLD = "What moved its items, by signal and code, is told for sellers, categories, brands, price bands and ages"
_IMPORTED = ", where the ranker's contributions are known; an imported run has none"


def asked(ask: Ask, run_id: str, snapshot_id: str, of: str, discount: str | None) -> OnePage:
    """The answer for what a command names: `of` as 'seller=NAME'. Raises ConfigError with what there is instead."""
    choices = ask(queries.choices, run_id)
    discounts = [d for d in queries.DISCOUNTS if d in set(choices["discount"])]
    if not discounts:
        raise ConfigError(f"run '{run_id}' holds no exposure audit: nothing was retrieved for a query with traffic")
    if discount not in (None, *discounts):
        raise ConfigError(f"--discount '{shown(str(discount))}' is unknown; allowed: {', '.join(discounts)}")
    who = {name: name for name in queries.DIMENSIONS if name in set(choices["dimension"])}
    who |= {name: f"{queries.ATTRIBUTE}{name}" for name in ask(queries.attributes) if name not in who}
    written = max((w for w in (*who, *who.values()) if of.startswith(f"{w}=")), key=len, default="")
    if not written:
        raise ConfigError(
            f"--of '{shown(of)}' must be WHO=NAME, such as 'seller=Blue Barn'; WHO is one of: {', '.join(map(shown, who))}"
        )
    dimension, discount = who.get(written, written), discount or discounts[0]
    rows = prepared(found(ask, run_id, dimension, discount))
    every, name = list(rows["value"]), of.removeprefix(f"{written}=")
    value = resolved(name, every) or resolved(name.strip(), every)
    if not value:
        near = alike(name, every, most=5)
        offered = ", ".join(f"'{shown(one, 200)}'" for one in near or every[:5])
        meant = (
            f"did you mean {offered}?"
            if near
            else f"there are {len(every):,} {plural_name(dimension)}, such as {offered}"
        )
        raise ConfigError(
            f"no {text.DIMENSION_NAME.get(dimension, written).lower()} is called '{shown(name)}'; {meant}"
        )
    return collect(ask, run_id, snapshot_id, dimension, discount, rows[rows["value"] == value].iloc[0])


def answer(kind: str, value: str, row: pd.Series) -> str:
    """Whether it is seen less or more, by how much, and how sure that is."""
    share, without, change = (float(row[name]) for name in ("share", "share_without", "difference"))
    how = "as much as before" if change == 0 else f"{'less' if change < 0 else 'more'}"
    said = f"{kind} {text.shortened(value, 120)} is seen {how} with semantic identifiers: it had {text.number(without, 'share')} of all "
    said += f"exposure without them and has {text.number(share, 'share')} with them"
    if change:
        said += f", {text.number(change, 'share_points')}{_relative(row)}"
    if row["verdict"] == TOO_SMALL:
        return f"{said}. {text.sentence(TOO_SMALL)} to say more: {_rests(row)}."
    return f"{said}. In words: {row['verdict']} ({_certainty(row)}; {_rests(row)})."


def _relative(row: pd.Series) -> str:
    without = float(row["share_without"])
    return f", {text.number(float(row['difference']) / without, 'change')} of what it had" if without > 0 else ""


def _certainty(row: pd.Series) -> str:
    return f"95 % interval {text.interval(row['low'], row['high'], 'share_points')}, q = {text.number(row['q_value'])}"


def _rests(row: pd.Series) -> str:
    n, effective = int(row["n_queries"]), float(row["effective_n"])
    return f"its items are among the results of {text.plural(n, 'query', 'queries')}, worth {effective:,.0f} equally frequent ones"


def numbers(row: pd.Series) -> list[Number]:
    """Change, share and merit, as on the table's row."""
    small = row["verdict"] == TOO_SMALL
    interval = "" if small else f"{_certainty(row)}; "
    merit = float(row["per_merit"])
    return [
        Number(
            "Change of exposure", TOO_SMALL if small else text.number(row["difference"], "share_points"),
            f"{interval}effective n = {float(row['effective_n']):,.0f} of {text.plural(int(row['n_queries']), 'query', 'queries')}",
            "exposure_change",
        ),
        Number(
            "Share of exposure with SIDs", text.number(row["share"], "share"),
            f"{text.number(row['share_without'], 'share')} without; {text.plural(int(row['n_items']), 'item', 'items')}, "
            f"{text.number(row['catalogue_share'], 'share')} of the catalogue", "exposure",
        ),
        Number(
            "Exposure / merit", TOO_SMALL if merit != merit else f"{merit:.2f} ×",
            f"{text.number(row['merit'], 'share')} of judged relevance, n = {text.plural(int(row['n_merit_pairs']), 'judged pair', 'judged pairs')}",
            "merit",
        ),
    ]  # fmt: skip


def examples(items: pd.DataFrame, change: float) -> pd.DataFrame:
    """The rows of `Change.items` to show: the largest in the direction of the whole change, each query and item once."""
    same = items[items["change"] * (1 if change >= 0 else -1) > 0]
    return same.drop_duplicates("query_id").drop_duplicates("item_id").head(EXAMPLES)


def example_lines(rows: pd.DataFrame) -> list[str]:
    """One line an example."""
    return [
        f"“{text.shortened(r['title'])}” for “{text.shortened(r['text'])}”: rank {int(r['rank_without_sid'])} without SIDs, "
        f"{int(r['rank'])} with them ({text.number(r['change'], 'fine_points')})"
        for r in rows.to_dict("records")
    ]


def queries_line(by_query: pd.DataFrame, change: float) -> str:
    """How concentrated the change is, and what would be left without its largest queries."""
    side = 1 if change >= 0 else -1
    largest = (
        by_query[by_query["net"] * side > 0].nlargest(EXAMPLES, "net")
        if side > 0
        else by_query[by_query["net"] < 0].nsmallest(EXAMPLES, "net")
    )
    if largest.empty or not change:
        return ""
    net = float(largest["net"].sum())
    named = text.listed([f"“{text.shortened(q, 60)}”" for q in largest["text"]])
    many = "this query" if len(largest) == 1 else f"these {len(largest)} queries"
    return (
        f"{text.plural(len(by_query), 'query changes', 'queries change')} it. Most comes from {named}: {text.number(net, 'share_points')}. "
        f"Were {many} ranked as without SIDs, its change would be {text.number(change - net, 'share_points')}."
    )


def code_lines(codes: pd.DataFrame, change: float) -> list[str]:
    """The codes through which most of a change goes: of those that passed its items where it lost, of its own where it gained."""
    side = 1 if change >= 0 else -1
    named = codes[codes["prefix"].notna() & (codes["net"] * side > 0)].head(EXAMPLES)
    return [
        f"{text.shortened(r['name'], 80)}: {text.number(r['net'], 'fine_points')}" for r in named.to_dict("records")
    ]


def ledger_lines(rows: pd.DataFrame) -> list[str]:
    """What became of its judged relevant items, and what would bring the lost ones back."""
    total = int(rows["n_pairs"].sum())
    if not total:
        return ["None of its items was judged relevant for a query, so nothing tells what it should be found for."]
    found = int(rows.loc[rows["verdict"] == "found", "n_pairs"].sum())
    lines = [
        f"Of {text.plural(total, 'judged relevant pair', 'judged relevant pairs')} of a query and one of its items, {found:,} "
        f"{'is' if found == 1 else 'are'} on page one ({text.share(found, total)})."
    ]
    lost = rows[rows["verdict"] != "found"].sort_values("n_pairs", ascending=False, kind="stable")
    for row in lost.head(EXAMPLES).to_dict("records"):
        lines.append(f"{int(row['n_pairs']):,} {_LOST[row['verdict']].format(**_where(row))}")
    rest = int(lost["n_pairs"].iloc[EXAMPLES:].sum())
    return [*lines, f"{rest:,} more {'was' if rest == 1 else 'were'} lost otherwise."] if rest else lines


_LOST = {
    "not retrieved": "not retrieved: other items come before them among the candidates that words and meaning bring. A title worded as it is "
    "searched for may change that.",
    "lost in the beam": "lost in the beam at level {level}: the model does not expect its code there for that query. A title that says more plainly "
    "what it is may get it another code; the What if page shows which.",
    "outranked": "outranked, mainly by {feature}: there the items of page one are ahead of it.",
}


def _where(row: dict[Any, Any]) -> dict[str, str]:
    level = "an unknown one" if pd.isna(row["level"]) else str(int(row["level"]))
    feature = text.feature_name(row["feature"]) if isinstance(row["feature"], str) else "no single feature"
    return {"level": level, "feature": feature}


def document(page: OnePage) -> str:
    """The answer as one self-contained HTML file that prints on A4."""
    title = text.shortened(page.title, 120)
    cards = "".join(
        f"<div class=card><small>{escape(n.label)}</small><b>{escape(n.value)}</b><small>{escape(n.note)}</small></div>"
        for n in page.numbers
    )
    sections = "".join(f"<h2>{escape(s.title)}</h2>{_listed(s.lines)}" for s in page.sections if s.lines)
    most = max((abs(points) for _, points in page.bars), default=0.0) or 1.0
    bars = "".join(
        f"<tr><td>{escape(name)}<td class=n>{points:+.4f} pp<td><i class={'up' if points >= 0 else 'down'} style='width:{100 * abs(points) / most:.1f}%'></i>"
        for name, points in page.bars
    )
    table = f"<h2>What moved its items, in percentage points of all exposure</h2><table>{bars}</table>" if bars else ""
    foot = "".join(f"<p>{escape(line)}" for line in page.foot)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<small>{escape(page.kind)}</small><h1>{escape(title)}</h1><p class=lead>{escape(page.answer)}</p>"
        f"<div class=cards>{cards}</div>{sections}{table}<footer>{foot}</footer></html>"
    )


def _listed(lines: list[str]) -> str:
    if len(lines) == 1:
        return f"<p>{escape(lines[0])}</p>"
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


_STYLE = (
    "@page{size:A4;margin:11mm}*{box-sizing:border-box}body{font:14px/1.45 system-ui,sans-serif;color:#111;max-width:190mm;"
    "margin:8mm auto;padding:0 4mm;overflow-wrap:anywhere}h1{margin:.1em 0 .3em;font-size:24px}h2{font-size:16px;margin:1.1em 0 .3em}"
    ".lead{font-size:16px}.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:8px}.card{border:1px solid #bbb;"
    "border-radius:6px;padding:8px;display:flex;flex-direction:column}.card b{font-size:20px}ul{margin:.2em 0;padding-left:1.2em}"
    "table{width:100%;border-collapse:collapse}td{padding:2px 6px 2px 0;vertical-align:middle}td:last-child{width:35%}.n{text-align:right;white-space:nowrap}"
    "i{display:block;height:10px}.up{background:#0072B2}.down{background:#D97B00}small,footer{color:#555}footer{font-size:12px;"
    "border-top:1px solid #bbb;margin-top:1.5em}h2,tr,li{break-inside:avoid}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}"
    # on paper: one page, with the longest names and lists that there can be
    "@media print{body{font-size:10.8px;line-height:1.33;margin:0;padding:0;max-width:none}h1{font-size:18px}.lead{font-size:12px;margin:.3em 0}"
    "h2{font-size:12px;margin:.65em 0 .15em}p{margin:.2em 0}.card{padding:4px 8px}.card b{font-size:15px}td{padding:0 6px 0 0}i{height:7px}"
    "footer{font-size:8.6px;line-height:1.25;margin-top:.7em}}"
)
