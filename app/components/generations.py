"""What a run has given SIDs since it was trained: its generations, and the items of the later ones."""

from __future__ import annotations

import streamlit as st

from app import text
from app.components.figure import paged_table, table
from app.fetch import fetch
from app.queries import codebook as queries
from app.text import escape
from engine.audit.newcomers import FAR_SHARE


def show(run: str) -> None:
    """The section on generations; nothing where the run has none but the first."""
    rows = fetch(queries.generations, run)
    if len(rows) < 2:
        return
    st.header("Items added since training (generations)", anchor=False, help=text.DEFINITIONS["generations"])
    newest = rows.iloc[-1]
    new = newest["n_new_sids"]
    are_new = (
        "none of their SIDs is new"
        if not new
        else f"{text.plural(new, 'SID', 'SIDs')} among them {'is' if new == 1 else 'are'} new"
    )
    st.markdown(
        escape(
            f"{text.plural(newest['n_items'], 'item', 'items')} of “{newest['source']}” "
            f"{'was' if newest['n_items'] == 1 else 'were'} given SIDs last (generation {newest['generation']}); {are_new}. "
            f"{text.number(newest['beyond_p95'], 'percent')} of them lie far from their SID, where 5 % are expected: their median "
            f"distance to it is {text.number(newest['median_distance'])}, that of the items the run was trained on "
            f"{text.number(newest['median_distance_base'])}."
        )
    )
    if newest["beyond_p95"] > FAR_SHARE:
        st.warning(
            "The codebook does not know the kind of these items well: train again.", icon=":material/model_training:"
        )
    whole = st.column_config.NumberColumn
    table(
        rows.assign(source=rows["source"].fillna("the catalogue")),
        title="Generations of this run", key="generations", heading=False, define="generations", height="content",
        show=[
            "generation", "created_at", "source", "n_items", "n_known", "n_new_sids", "n_unknown_category", "median_distance",
            "beyond_p95", "items_per_sid_after", "shared_after", "largest_bucket_after",
        ],
        columns={
            "generation": "Generation", "created_at": st.column_config.DatetimeColumn("Made (UTC)", format="YYYY-MM-DD HH:mm"),
            "source": "From", "n_items": whole("Items given SIDs", format="localized"),
            "n_known": whole("Had one before", format="localized"), "n_new_sids": whole("New SIDs", format="localized"),
            "n_unknown_category": whole("Category unknown", format="localized"),
            "median_distance": whole("Median distance (latent)", format="%.3f"),
            "items_per_sid_after": whole("Items a SID, all so far", format="%.2f"),
            "largest_bucket_after": whole("Largest bucket (items)", format="localized"),
        },
        percent={"beyond_p95": "Far from their SID", "shared_after": "Share their SID, of all so far"},
    )  # fmt: skip
    paged_table(
        queries.assigned, (run,), rows=fetch(queries.count_assigned, run, ""), title="Items of later generations",
        key="assigned", define="assigned", height=460,
        columns={
            "generation": "Generation", "item_id": "Item", "title": st.column_config.TextColumn("Title", width="medium"),
            "category": "Category", "seller": "Seller", "brand": "Brand", "price": whole("Price", format="%.2f"),
            "currency": "Currency", "sid": "SID", "distance": whole("Distance (latent)", format="%.3f"),
            "new_sid": "New SID", "bucket_before": whole("Items of its SID before"), "bucket_after": whole("and with these"),
        },
        percent={"distance_percentile": "Old items as near or nearer"},
    )  # fmt: skip
