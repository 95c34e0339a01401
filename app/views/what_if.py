"""What if: a listing written otherwise, and a policy tried on the stored rankings."""

import streamlit as st

from app.components.policy import policy
from app.components.states import bad_parameter, has_run, header, panel

VIEWS = ("Policy",)

header("What if?", "What would another listing, or another policy, change? Nothing here alters the run or its data.")
if has_run():
    asked = st.query_params.get("try")
    if asked and asked not in VIEWS:
        bad_parameter("try", asked, f"Shown instead: {VIEWS[0]}.")
    view = st.segmented_control("Try", VIEWS, default=VIEWS[0], required=True, key="try", bind="query-params")
    with panel("Policy", height=400):
        policy()
