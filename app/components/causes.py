"""Why one seller's, category's or band's exposure changed: a sentence, the parts, the codes, the queries and the items."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import exposure as charts
from app.components.figure import figure, table
from app.components.links import address
from app.components.states import imported, nothing
from app.fetch import current, fetch
from app.queries import sellers as queries
from engine.audit.causes import PARTS, SIDS

SIDE = 12  # parts drawn; the table has all
BELOW, NOT_SIDS, UNKNOWN = PARTS
NAMES = {
    BELOW: "Through SIDs, below the explained places",
    NOT_SIDS: "Not through SIDs: all else",
    UNKNOWN: "Not explained",
}


def causes(dimension: str, value: str, discount: str, stored: float) -> None:
    """What moved the items of one value; each table adds up to its change `stored`."""
    made = fetch(queries.change, current().run_id, dimension, value, discount)
    if made.by_query.empty:
        nothing("None of its items changed place on any query, so there is nothing to explain.")
        return
    rows = named(fetch(queries.causes, current().run_id, dimension, value, discount))
    filters = {"dimension": dimension, "value": value, "discount": discount}
    sums = {"Parts": rows[rows["told"] == "signal"], "codes": rows[rows["told"] == "prefix"], "queries": made.by_query}
    if rows.empty:
        del sums["Parts"], sums["codes"]
        nothing(
            "What moved its items is told by the contributions of the ranker, which "
            + ("an imported run does not have." if imported() else "this snapshot does not hold for its queries.")
        )
    else:
        _parts(sums["Parts"], filters)
    totals = {name: 100 * float(told["net"].sum()) for name, told in sums.items()}
    said = ", ".join(
        f"{name} {'add up ' if not place else ''}to {total:+.4f} pp"
        for place, (name, total) in enumerate(totals.items())
    )
    line = f"{text.sentence(said)}; the audited change is {100 * stored:+.4f} pp."
    if max(abs(total - 100 * stored) for total in totals.values()) > 1e-4:
        st.error(f"{line} They should be equal: do not trust these causes.", icon=":material/error:")
    else:
        st.caption(f":material/check: {line}", help=text.DEFINITIONS["cause"])
    _tables(made, sums.get("codes"), filters)


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a name each: a level and signal of SIDs, a code with its label, or what is not through SIDs."""
    names = []
    for row in rows.to_dict("records"):
        if row["part"] != SIDS:
            names.append(NAMES[row["part"]])
        elif row["told"] == "signal":
            signal = f".{row['signal']}" if isinstance(row["signal"], str) else ""
            names.append(text.feature_name(f"sid_{int(row['level'])}{signal}"))
        elif not isinstance(row["prefix"], str):
            names.append("All other codes")
        else:
            label = row["label"].split(" · ")[0] if isinstance(row["label"], str) and row["label"] else ""
            names.append(f"{row['prefix']} ({label})" if label else row["prefix"])
    return rows.assign(name=names)


def sentence(rows: pd.DataFrame) -> str:
    """The causes in one sentence of Markdown, from the rows told by signal."""

    def points(net: float) -> str:
        return text.escape(text.number(net, "share_points"))

    sids = rows[rows["part"] == SIDS]
    net = rows.groupby("part")["net"].sum()
    said = []
    if len(sids):
        level = sids.groupby("level")["net"].sum()
        side = 1.0 if net[SIDS] >= 0 else -1.0
        main = int(level.index[int((level * side).to_numpy().argmax())])
        inside = f"level {main}: {points(level[main])}"
        signals = sids[(sids["level"] == main) & sids["signal"].notna()]
        if len(signals):
            signal = signals["name"].iloc[int((signals["net"] * side).to_numpy().argmax())].partition(": ")[2]
            inside += f", mostly {text.escape(signal[:1].lower() + signal[1:])}"
        said.append(f"**{points(net[SIDS])} go through SIDs** ({inside})")
    for part, words in (
        (NOT_SIDS, "not through SIDs"),
        (BELOW, "through SIDs below the places that are explained in full"),
        (UNKNOWN, "not explained"),
    ):
        if part in net:
            said.append(f"{points(net[part])} {words}")
    return f"Of the **{points(float(rows['net'].sum()))}**, {text.listed(said)}."


def _parts(rows: pd.DataFrame, filters: dict[str, str]) -> None:
    st.markdown(sentence(rows))
    shown = rows.head(SIDE)[["name", "net"]].rename(columns={"net": "value"})
    if len(rows) > SIDE:
        more = pd.DataFrame({"name": [f"{len(rows) - SIDE} smaller parts"], "value": [rows["net"].iloc[SIDE:].sum()]})
        shown = pd.concat([shown, more], ignore_index=True)
    figure(
        charts.causes(shown),
        title="What moved its items",
        key="causes",
        data=rows.drop(columns=["told", "prefix", "label"]),
        n=f"{text.plural(len(rows), 'part', 'parts')}, all",
        alt=f"The largest part of the change: {shown['name'].iloc[0]} with {100 * shown['value'].iloc[0]:+.3f} pp",
        define="cause",
        filters=filters,
        subtitle="By level and signal of SIDs: what favoured its items when they rose, and those that passed them when they fell.",
    )


def _tables(made: queries.Change, codes: pd.DataFrame | None, filters: dict[str, str]) -> None:
    """The same change as tables with links: codes, queries, and the places of its own items."""
    percent = {
        name: st.column_config.NumberColumn(title, width=64, format="%+.4f")
        for name, title in (("gain", "Gain, pp"), ("loss", "Loss, pp"), ("net", "Net, pp"), ("change", "Change, pp"))
    }
    link_column = st.column_config.LinkColumn
    by_query = _points(made.by_query)
    by_query["open"] = [address("query", {"q": q, "view": "Ranking"}) for q in by_query["query_id"]]
    if codes is not None:
        codes = _points(codes.drop(columns=["told", "signal"]))
        codes["open"] = [address("codebook", {"code": p}) if isinstance(p, str) else None for p in codes["prefix"]]
        table(
            codes, title="By code", key="cause-codes", define="cause", filters=filters, height=300,
            show=["name", "net", "gain", "loss", "n_queries", "open"],
            columns=percent
            | {
                "name": st.column_config.TextColumn("Code", width=250),
                "n_queries": st.column_config.NumberColumn("Queries", format="localized"),
                "open": link_column("Code card", display_text="open"),
            },
        )  # fmt: skip
    table(
        by_query, title="By query", key="cause-queries", define="cause", filters=filters, height=300,
        show=["text", "net", "gain", "loss", "frequency", "open"],
        columns=percent
        | {
            "text": st.column_config.TextColumn("Query", width=250),
            "frequency": st.column_config.NumberColumn("Searches", format="localized"),
            "open": link_column("Ranking", display_text="open"),
        },
    )  # fmt: skip
    moved = _points(made.items)
    moved["move"] = [text.move(a, b) for a, b in zip(moved["rank"], moved["rank_without_sid"], strict=True)]
    moved["open"] = [
        address("explain", {"q": q, "item": i}) for q, i in zip(moved["query_id"], moved["item_id"], strict=True)
    ]
    table(
        moved, title="Its items that moved most", key="cause-items", define="exposure_change", filters=filters, height=300,
        n=f"{len(moved)} places{', the largest changes' if len(moved) == queries.ITEMS else ', all'}",
        show=["text", "title", "rank_without_sid", "rank", "move", "matched_prefix", "change", "open"],
        columns=percent
        | {
            "text": st.column_config.TextColumn("Query", width=150), "title": st.column_config.TextColumn("Item", width=190),
            "rank_without_sid": "Rank without", "rank": st.column_config.NumberColumn("with SIDs", width=66), "move": st.column_config.TextColumn("In words", width=85),
            "matched_prefix": st.column_config.TextColumn("Its match", width=75),
            "open": link_column("Why", display_text="explain"),
        },
    )  # fmt: skip


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Fractions of exposure as percentage points."""
    return rows.assign(**{name: 100 * rows[name] for name in ("gain", "loss", "net", "change") if name in rows})
