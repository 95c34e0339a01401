"""What if: a listing written otherwise, many of them, and a policy tried on the stored rankings."""

import streamlit as st

from app.components.bulk import bulk
from app.components.listing import listing
from app.components.policy import policy
from app.components.states import bad_parameter, has_run, header, panel

VIEWS = {"Listing": listing, "Listings in bulk": bulk, "Policy": policy}

header("What if?", "What would another listing, or another policy, change? Nothing here alters the run or its data.")
if has_run():
    asked = st.query_params.get("try")
    first = next(iter(VIEWS))
    if asked and asked not in VIEWS:
        bad_parameter("try", asked, f"Shown instead: {first}.")
    view = st.segmented_control("Try", list(VIEWS), default=first, required=True, key="try", bind="query-params")
    with panel(str(view), height=400):
        VIEWS[str(view or first)]()
