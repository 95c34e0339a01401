"""The query written otherwise, side by side: does the generator still mean the same, and does page one stay?"""

from __future__ import annotations

import math

import pandas as pd
import streamlit as st

from app import text
from app.components import live
from app.components.answer import Answer, answer, labels
from app.components.figure import table
from app.components.states import nothing
from app.fetch import current, fetch
from app.queries import brands
from engine.audit.overlap import overlap_at, rbo
from engine.audit.traffic import PAGE
from engine.audit.variants import Variant, variants

BRANDS = 2


def show(given: Answer) -> None:
    """A table of variants, answered live on demand, each against the query as it was asked."""
    ranked = given.scores[given.scores["rank"].notna()].sort_values("rank")
    named = fetch(brands.named, given.text, BRANDS)
    usual = fetch(brands.usual, tuple(ranked["item_id"].head(PAGE))) if not named and len(ranked) else None
    made = variants(given.text, brands=named, usual_brand=usual)
    st.markdown(
        f"**{text.plural(len(made) - 1, 'variant', 'variants')}** of “{text.escape(given.text)}”, made from its text alone, answered by the "
        "run's model and compared with the query as asked.",
        help=text.DEFINITIONS["variants"],
    )  # fmt: skip
    if len(made) < 2:
        nothing("This query cannot be written otherwise by exchanging letters, words or brands.")
        return
    where = current()
    model = live.model(str(where.workspace), where.run_id)
    if model.state == "failed":
        live.unavailable(model)
        return
    if model.state == "warming":
        live.wait(model)
        return
    answers = _answers(made)
    if not answers:
        return
    rows = compare(made, answers)
    changed = int((rows["best"] != rows["best"].iloc[0]).sum())
    least = rows["overlap"].iloc[1:].min()
    said = f"**{changed} of {len(rows) - 1}** change the beam that the generator bets most on"
    if pd.notna(least):
        worst = rows.iloc[1:].sort_values("overlap").iloc[0]
        said += f"; page one keeps least with “{text.escape(worst['text'])}” ({100 * least:.0f} % of its items)"
    st.markdown(f"{said}.")
    table(
        rows,
        title="Variants of the query",
        key="variants",
        n=f"{len(rows)} texts, all answered live",
        define="variants",
        filters={"query": given.text},
        show=["kind", "text", *(["overlap", "rbo"] if rows["overlap"].notna().any() else []), "same_beams", "name", "probability",
              "held", "best"],
        columns={
            "kind": st.column_config.TextColumn("What was done", width=160),
            "text": st.column_config.TextColumn("Query", width=260),
            "overlap": st.column_config.NumberColumn("Page one kept, %", format="percent", width=125, help=text.DEFINITIONS["overlap"]),
            "rbo": st.column_config.NumberColumn("RBO", format="%.3f", width=70, help=text.DEFINITIONS["overlap"]),
            "same_beams": st.column_config.TextColumn("Same beams", width=95, help="Beams (whole SIDs) shared with the query as asked"),
            "name": st.column_config.TextColumn("Best beam", width=220),
            "probability": st.column_config.NumberColumn("Its probability, %", format="%.1f"),
            "held": st.column_config.NumberColumn("All beams, %", format="%.1f", help=text.DEFINITIONS["unsure"]),
            "best": "SID",
        },
        chooses=("text", "q"),
        heading=False,
    )  # fmt: skip
    st.caption("Choose a row to open that query.")


def _answers(made: list[Variant]) -> list[Answer]:
    """The live answer of every variant, told as they come; none where one fails, which was said."""
    bar = st.progress(0.0, "Answering the variants …")
    found = []
    for at, variant in enumerate(made):
        bar.progress(at / len(made), f"Answering variant {at + 1} of {len(made)}: {text.escape(variant.kind)} …")
        given = answer(variant.text, fresh=True)
        if given is None:
            return []
        found.append(given)
    bar.empty()
    return found


def compare(made: list[Variant], answers: list[Answer]) -> pd.DataFrame:
    """One row a variant: what it shares with the first (the query as asked), and what the generator bets on.

    Both are answered live, so what differs comes of the text alone.
    """
    first = answers[0]
    beams, page = set(first.beams["sid"]), _ranking(first)
    named = labels(current().run_id, pd.concat([each.beams["sid"] for each in answers]))
    rows = []
    for variant, each in zip(made, answers, strict=True):
        best, ranking = each.beams.sort_values("rank").iloc[0], _ranking(each)
        rows.append(
            {
                "kind": variant.kind, "text": variant.text,
                "overlap": overlap_at(page, ranking, PAGE) if page else math.nan, "rbo": rbo(page, ranking) if page else math.nan,
                "same_beams": f"{len(beams & set(each.beams['sid']))} of {len(beams)}",
                "best": str(best["sid"]), "name": named.get(str(best["sid"]), "no label"),
                "probability": 100 * math.exp(best["log_prob"]), "held": 100 * float(each.beams["log_prob"].map(math.exp).sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _ranking(given: Answer) -> list[str]:
    return given.scores[given.scores["rank"].notna()].sort_values("rank")["item_id"].tolist()
