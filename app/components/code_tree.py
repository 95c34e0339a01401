"""The codebook as a tree: boxes of codes, sized by items or exposure, coloured by what tells them apart."""

from __future__ import annotations

import streamlit as st

from app.charts import codebook as charts
from app.components import names
from app.components.figure import chosen_point, figure
from app.components.links import choose
from app.components.states import nothing
from app.fetch import fetch
from app.queries import codebook as queries
from app.text import escape

MOST_BOXES = 2_500  # prefixes of a treemap: more are not readable and slow the browser
SIZES = {"n_items": "items", "exposure": "exposure with SIDs"}
SHADES = ("department", "exposure change", "purity", "label score")
TOLD = {
    "department": "Colour: the department of a code's commonest category",
    "exposure change": "Blue: items under the code gain exposure by SIDs; orange: they lose; grey: no change",
    "purity": "Dark: one category; bright: mixed categories",
    "label score": "Dark: the label finds the code's own items; bright: it fits a sibling's as well",
}
DEFINED = {"exposure change": "exposure_change", "purity": "purity", "label score": "code_label"}


def _open() -> None:
    """A box of the treemap chooses its code."""
    point = chosen_point("tree")
    if point is not None:
        choose("code", str(point[0] if isinstance(point, list | tuple) else point))


def show(run: str, code: str, levels: int) -> None:
    """Treemap of the codes below the chosen one (or its parent, where nothing is below)."""
    pure = fetch(queries.pure_by_construction, run)
    root = code
    if root and root.count("-") + 1 >= levels:
        root = root.rpartition("-")[0]
    shown = root.count("-") + 2 if root else 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        size = st.segmented_control(
            "Size by", list(SIZES), default="n_items", required=True, key="size", bind="query-params",
            format_func=SIZES.__getitem__,
        ) or "n_items"  # fmt: skip
        shade = st.segmented_control(
            "Colour by", SHADES, default="department", required=True, key="shade", bind="query-params",
        ) or "department"  # fmt: skip
    if shade == "purity" and shown in pure:
        st.caption(f"Every code of level {shown} holds one category by construction, so purity says nothing here: coloured by department.")  # fmt: skip
        shade = "department"
    rows = fetch(queries.tree, run, root, MOST_BOXES, names.given())
    if rows.empty or not rows[size].fillna(0).sum():
        nothing("No code here has a size to draw.", remedy="Size by items instead." if size != "n_items" else None)
        return
    departments = rows["department"].unique()
    if shade == "department" and root and len(departments) == 1 and rows["exposure_change"].notna().any():
        st.caption(f"All of these codes are of one department, {escape(departments[0])}: coloured by exposure change.")
        shade = "exposure change"
    if shade != "department" and rows[charts.SHADES[shade].column].isna().all():
        nothing(f"No {shade} is known of these codes.", remedy="Colour by department instead.")
        return
    deepest, called = int(rows["level"].max()), names.path(root) if root else ""
    figure(
        charts.tree(rows, root, size, shade, fetch(queries.departments, run)),
        title=f"Inside {called}" if root else "Tree of codes",
        subtitle=f"Click a box for its card. {TOLD[shade]}.",
        data=rows,
        n=f"{len(rows):,} codes, levels 1-{deepest}" if not root else f"{len(rows):,} codes down to level {deepest}",
        define=DEFINED.get(shade, "department"),
        filters={"root": root or "all", "size": size, "colour": shade},
        key="tree",
        on_select=_open,
        opens="code",
        alt=f"Treemap of {len(rows)} codes; the largest is {rows.iloc[0]['name']} with {rows.iloc[0]['n_items']} items.",
    )
