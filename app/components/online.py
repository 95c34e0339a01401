"""What SIDs would do online, simulated: clicks and purchases, how sure that is, what it rests on, what is assumed."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import text
from app.charts import online as charts
from app.components.figure import figure, table
from app.components.metric import metric_card
from app.components.states import nothing, unfilled
from app.fetch import current, fetch
from app.queries import online as queries

SHORT = {"uctr": "UCTR", "uctcvr": "UCTCVR"}
PARAMETERS = {
    "decay": "Decay of attention",
    "examination": "Share that looks at a place",
    "examination_free": "The same, each place its own (a check)",
    "attractiveness": "Click rate when looked at",
    "conversion": "Purchases per click",
    "unmeasured_neutral": "Click rate of unmeasured items, neutral reading",
    "unmeasured_alike": "Click rate of unmeasured items, 'alike' reading (with SIDs; without)",
}
SIMULATION = {"kind": "simulation"}


def online() -> None:
    """The whole panel."""
    rows = fetch(queries.effect, current().run_id)
    if rows.empty:
        unfilled(
            "No online effect was simulated for this run: it needs rankings with and without SIDs, and a search log or "
            "judgments that say what is clicked.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        return
    model = fetch(queries.click_model, current().run_id)
    own = rows[rows["scenario"] == "estimate"].set_index("metric")
    first = own.iloc[0]
    st.markdown(
        f":material/science: **A simulation, not a measurement**: {text.escape(_what(first))}",
        help=text.DEFINITIONS["online"],
    )
    if first["attractiveness"] == "stated":
        st.markdown(
            ":material/warning: No usable search log: how often a grade is clicked is stated, not learnt. Only the relative "
            "change means something."
        )
    if first["effective_n"] >= text.LEAST_QUERIES:
        st.markdown("\n".join(f"- {text.escape(told(str(metric), row))}" for metric, row in own.iterrows()))
    _cards(own)
    with st.grid(2, min_column_width=380, gap="large"):
        with st.container():
            _effect(rows, own)
        with st.container():
            _sources(own)
    with st.expander("What is assumed", icon=":material/rule:"):
        _assumptions(first, model)


def _effect(rows: pd.DataFrame, own: pd.DataFrame) -> None:
    """The change under every reading."""
    first = own.iloc[0]
    if first["effective_n"] < text.LEAST_QUERIES:
        st.subheader("Clicks and purchases with SIDs (simulation)", anchor=False, help=text.DEFINITIONS["online"])
        nothing(
            f"{text.TOO_SMALL}: the queries are worth {first['effective_n']:,.0f} equally frequent ones, fewer than {text.LEAST_QUERIES}."
        )
        return
    figure(
        charts.effect(rows),
        title="Clicks and purchases with SIDs (simulation)",
        subtitle="The estimate's interval spans those of all readings of what was never measured",
        key="online",
        data=rows.assign(simulation=True),
        n=f"{int(first['n_queries']):,} queries, worth {first['effective_n']:,.0f} equally frequent ones",
        define="online",
        filters=SIMULATION,
        alt="Simulation. " + " ".join(_change(str(m), row) for m, row in own.iterrows()),
    )


def _sources(own: pd.DataFrame) -> None:
    """What the attractiveness of the replayed items rests on."""
    first = own.iloc[0]
    figure(
        charts.sources(first),
        title="What the simulation rests on",
        subtitle=f"{text.number(first['changed'], 'percent')} of the attention falls on places that show another item "
        "with SIDs",
        key="online-sources",
        data=own.reset_index().assign(simulation=True),
        n=f"the first {int(first['slots'])} places of {int(first['n_queries']):,} queries, all",
        define="online_coverage",
        filters=SIMULATION,
        alt=f"Simulation. {text.number(first['unmeasured'], 'percent')} of the attention with SIDs falls on unmeasured items.",
    )


def _what(row: pd.Series) -> str:
    return (
        f"the logged mix of {int(row['n_queries']):,} queries is replayed under both rankings through a click model, "
        f"{int(row['slots'])} results a session. No shopper has seen these pages."
    )


def _change(metric: str, row: pd.Series) -> str:
    return (
        f"{SHORT[metric]} {text.number(row['relative'], 'change')} "
        f"{text.interval(row['relative_low'], row['relative_high'], 'change')}."
    )


def told(metric: str, row: pd.Series) -> str:
    """One metric in a sentence, no finer than it is known."""
    change = (
        f"{text.number(row['relative'], 'change')} {text.interval(row['relative_low'], row['relative_high'], 'change')}"
    )
    if row["attractiveness"] == "fitted":
        change += f", from about {100 * row['value_without']:.0f} % of sessions"
    sessions, cautious = text.about(row["sessions_per_arm"]), text.about(row["sessions_per_arm_cautious"])
    if row["sessions_per_arm"] != row["sessions_per_arm"]:
        test = "There is no change that an A/B test could show"
    else:
        test = f"An A/B test would need {sessions} sessions in each arm to show it"
        test += (
            f", or {cautious} to be cautious" if row["sessions_per_arm_cautious"] == row["sessions_per_arm_cautious"]
            else "; as the interval holds zero, it may be that no number would"
        )  # fmt: skip
    return f"{_PLAIN[metric]} ({SHORT[metric]}): {change}, {text.evidence(row['relative_low'], row['relative_high'])}. {test}."


_PLAIN = {"uctr": "Sessions with a click", "uctcvr": "Sessions with a purchase"}


def _cards(own: pd.DataFrame) -> None:
    """The change of each metric, and the A/B test that would show it."""
    with st.grid(2 * len(own), min_column_width=190):
        for metric, row in own.iterrows():
            shared = {"n": row["effective_n"], "unit": "queries (effective)"}
            with st.container(gap="xxsmall"):
                metric_card(
                    f"{_PLAIN[str(metric)]}, relative change", row["relative"], low=row["relative_low"], high=row["relative_high"],
                    form="change", define="online", note=f"simulated; {text.evidence(row['relative_low'], row['relative_high'])}", **shared,
                )  # fmt: skip
            with st.container(gap="xxsmall"):
                metric_card(
                    "Sessions per arm to show it", row["sessions_per_arm"], form="about", define="online_sample", **shared,
                    note="simulated; "
                    + (f"{text.about(row['sessions_per_arm_cautious'])} to be cautious"
                       if row["sessions_per_arm_cautious"] == row["sessions_per_arm_cautious"] else "the interval holds zero"),
                )  # fmt: skip


def _assumptions(row: pd.Series, model: pd.DataFrame) -> None:
    """The click model in words, then its parameters."""
    decay = model[model["parameter"] == "decay"]
    known = row["examination"] == "fitted"
    n = int(decay["n"].iloc[0]) if len(decay) else 0
    looked = (
        f"learnt from {n:,} clicks on items that were shown at two places or more: "
        f"{text.number(row['decay'])} {text.interval(decay['low'].iloc[0], decay['high'].iloc[0])}"
        if known and len(decay)
        else f"stated as {row['decay']:g}, because the log has too few clicks ({n:,}) on items shown at two places; the interval "
        f"also spans {_decays(row)}"
    )
    lines = [
        f"A session asks one query and sees its first {int(row['slots'])} results. Sessions stand in for users.",
        f"Attention falls with the place k as k to the power of minus a decay, whatever the query. The decay is {looked}.",
        "A place that is looked at is clicked with the item's own attractiveness, and a click becomes a purchase with its own "
        "conversion, whatever stands around it.",
        "Attractiveness never comes from a ranker's score: it is the click rate of the item's grade, moved by its own clicks "
        "where the log has them.",
        "Items that were neither judged nor shown are taken to be what measured items are that both rankings place alike. "
        "The neutral reading does not ask which of the two ranks them higher, so neither gains by what was never measured; "
        "‘alike’ lets unmeasured items differ as measured ones do; ‘beyond’ goes as far again.",
        "Shoppers do not change what they search for, and sellers do not react.",
    ]
    st.markdown("\n".join(f"- {text.escape(line)}" for line in lines))
    look = model[model["parameter"].isin(["examination", "examination_free"])]
    with st.container():
        if len(look):
            figure(
                charts.examination(look), title="How far down shoppers look (simulation)", key="online-look", data=look.assign(simulation=True),
                n=f"the first {int(row['slots'])} places", define="online", filters=SIMULATION,
                subtitle="Learnt from the log" if known else "Stated, not learnt from the log",
                alt=f"Attention by place with a decay of {row['decay']:.2f}",
            )  # fmt: skip
    with st.container():
        named = model.assign(name=model["parameter"].map(lambda p: PARAMETERS.get(p, p)), simulation=True)
        table(
            named, title="Parameters of the click model (simulation)", key="click-model", define="online", filters=SIMULATION, height=300,
            show=["name", "key", "value", "low", "high", "n", "source"],
            columns={
                "name": st.column_config.TextColumn("Parameter", width="medium"), "key": "Of",
                "value": st.column_config.NumberColumn("Value", format="%.3f"),
                "low": st.column_config.NumberColumn("95 % from", format="%.3f"),
                "high": st.column_config.NumberColumn("to", format="%.3f"),
                "n": st.column_config.NumberColumn("Rests on n", format="localized"),
                "source": st.column_config.TextColumn("Source", help="Fitted from the log, or stated where it cannot tell"),
            },
        )  # fmt: skip


def _decays(row: pd.Series) -> str:
    """The other decays of the sensitivity band."""
    rows = fetch(queries.effect, current().run_id)
    others = sorted(set(rows["decay"]) - {row["decay"]})
    return text.listed([f"{decay:g}" for decay in others]) or "no other"
