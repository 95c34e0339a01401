"""Coverage: which categories own codes, which are generated, and whether the tail is protected."""

import pandas as pd
import streamlit as st

from app import text
from app.charts import coverage as charts
from app.components.figure import choose_from, chosen_point, figure, paged_table, table
from app.components.links import button, choose, link
from app.components.metric import verdict_badge
from app.components.states import bad_parameter, has_run, header, nothing, panel, unfilled
from app.fetch import current, fetch
from app.queries import coverage as queries
from app.text import escape

DEFAULT_LIMITS = (50, 80)
VERDICTS = {"yes": "good", "no": "bad", "n too small": "info"}


def tier_limits() -> tuple[int, int]:
    """The tiers' cumulative shares of items, with their meaning in words."""
    limits = st.slider(
        "Tier limits (cumulative % of items, largest categories first)", 5, 95, DEFAULT_LIMITS, step=5, key="limits",
        bind="query-params", help=text.DEFINITIONS["category_tier"],
    )  # fmt: skip
    head, torso = int(limits[0]), int(limits[1])
    st.caption(
        escape(
            f"Head: the largest categories that begin within the first {head} % of items. Torso: up to {torso} %. Tail: "
            f"the rest."
            + ("" if (head, torso) == DEFAULT_LIMITS else " Verdicts and findings elsewhere use 50 and 80 %.")
        )
    )
    return head, torso


def tiers_table(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """One row a tier."""
    tiers = queries.by_tier(rows)
    for step in queries.FUNNEL:
        tiers[f"{step}_share"] = tiers[step] / tiers["n_items"]
    table(
        tiers, title="By tier", key="tiers", filters=filters, define="funnel", n=f"{len(rows):,} categories, all",
        show=[
            "tier", "n_categories", "n_items", "own_level1", "utilisation", "aliasing", "purity",
            *(f"{step}_share" for step in queries.FUNNEL), "protected", "unprotected", "too_small",
        ],
        columns={
            "tier": "Tier", "n_categories": st.column_config.NumberColumn("Categories"),
            "n_items": st.column_config.NumberColumn("Items", format="localized"),
            "protected": st.column_config.NumberColumn("Protected"),
            "unprotected": st.column_config.NumberColumn("Not protected"),
            "too_small": st.column_config.NumberColumn("n too small"),
        },
        percent={
            "own_level1": "Own level-1 code", "utilisation": "Distinct SIDs / items", "aliasing": "Aliasing",
            "purity": "Purity", "has_sid_share": "Has SID", "uniquely_decodable_share": "Uniquely decodable",
            "generated_share": "Unique and generated", "in_top_k_share": "In a top 10",
        },
    )  # fmt: skip


def from_gaps() -> None:
    """A category chosen in a chart."""
    for key in ("gaps", "lifts"):
        point = chosen_point(key)
        if point is not None:
            choose("category", str(point[0] if isinstance(point, list | tuple) else point))


def pictures(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """Funnel, gaps, lifts, Lorenz curves: two rows of two."""
    left, right = st.columns(2, gap="large")
    with left, panel("Funnel", height=360):
        tiers = queries.by_tier(rows)
        tail = tiers[tiers["tier"] == "tail"]
        known = len(tail) > 0 and bool(tail["generated"].notna().all())
        reach = (
            f"{100 * tail['generated'].sum() / max(tail['has_sid'].sum(), 1):.1f} %" if known else "an unknown share"
        )
        figure(
            charts.funnel(tiers), title="Funnel by tier", subtitle="How far items come, each step within the one before",
            data=tiers, n=f"{int(tiers['n_items'].sum()):,} items, all", define="funnel", filters=filters, key="funnel",
            alt=f"Funnel from SID to top 10 by tier; {reach} of tail items with a SID are unique and generated.",
        )  # fmt: skip
    with right, panel("Categories by size and reach", height=360):
        if rows["generated"].isna().all():
            st.subheader("Which categories are missed", anchor=False, help=text.DEFINITIONS["protection"])
            unfilled("Which items are generated was not measured in this run.", needs=("beams",))
        else:
            figure(
                charts.gaps(rows), title="Which categories are missed", subtitle="Click a category to follow it to its queries",
                data=rows, n=f"{len(rows):,} categories, all", define="protection", filters=filters, key="gaps",
                on_select=from_gaps,
                alt=f"{int((rows['generated'] == 0).sum())} of {len(rows)} categories have no item with a SID of its own that is generated.",
            )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left, panel("Lift by category", height=360):
        judged = charts.distinct_lifts(rows)
        if judged.empty:
            st.subheader("AUC lift by category", anchor=False, help=text.DEFINITIONS["lift"])
            unfilled(
                "No category has enough test queries for a lift of its own: n too small everywhere.",
                needs=("scores with SIDs", "scores without SIDs"),
            )
        else:
            below = int((judged["high"] < 0).sum())
            figure(
                charts.lifts(judged), title="AUC lift, worst first",
                subtitle="95 % intervals by query; (n) test queries; small categories are judged by department", data=judged, key="lifts", define="lift",
                n=f"worst {min(len(judged), 16)} of {len(judged)} lifts; {int(rows['auc_lift'].isna().sum())} categories n too small",
                filters=filters, on_select=from_gaps,
                alt=f"AUC lift of {len(judged)} categories or departments; {below} lie below zero with their whole interval.",
            )  # fmt: skip
    with right, panel("Lorenz curve", height=360):
        use = fetch(queries.code_use, run)
        if use.empty:
            nothing("This run has no codes.")
        else:
            ginis = charts.ginis(use)
            said = ", ".join(f"level {level} {value:.3f}" for level, value in ginis.items())
            figure(
                charts.lorenz_curves(use), title="Lorenz curve of code use", data=use, define="lorenz", key="lorenz",
                subtitle="Items per existing prefix; level 1 counts unused codes too", n=f"{len(use):,} prefixes, all",
                alt=f"Lorenz curves of code use; Gini by level: {said}.",
            )  # fmt: skip


def categories_table(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """Every category of the chosen tier; a row chooses it."""
    table(
        rows, title="Categories", key="categories", filters=filters, define="protection", height=420,
        n=f"{len(rows):,} categories", on_select=lambda: choose_from("categories", rows, "category", "category"),
        show=[
            "category", "tier", "n_items", "protected", "auc_lift_points", "low_points", "high_points", "n_queries",
            "own_level1", "codes_owned", "codes_shared", "utilisation", "aliasing", "purity", *queries.FUNNEL, "reason",
        ],
        columns={
            "category": st.column_config.TextColumn("Category", pinned=True, width="medium"), "tier": "Tier",
            "n_items": st.column_config.NumberColumn("Items", format="localized"), "protected": "Protected?",
            "auc_lift_points": st.column_config.NumberColumn("AUC lift (pp)", format="%+.2f"),
            "low_points": st.column_config.NumberColumn("Low (pp)", format="%+.2f"),
            "high_points": st.column_config.NumberColumn("High (pp)", format="%+.2f"),
            "n_queries": st.column_config.NumberColumn("Test queries"), "own_level1": "Own level-1 code",
            "codes_owned": st.column_config.NumberColumn("SIDs owned"),
            "codes_shared": st.column_config.NumberColumn("SIDs shared"),
            "has_sid": st.column_config.NumberColumn("Has SID"),
            "uniquely_decodable": st.column_config.NumberColumn("Uniquely decodable"),
            "generated": st.column_config.NumberColumn("Unique and generated", help=text.DEFINITIONS["funnel"]),
            "in_top_k": st.column_config.NumberColumn("In a top 10"),
            "reason": st.column_config.TextColumn("Reason", width="large"),
        },
        percent={"utilisation": "Distinct SIDs / items", "aliasing": "Aliasing", "purity": "Purity"},
    )  # fmt: skip


def category_card(row: pd.Series) -> None:
    """One category: verdict and reason, then items, codes, and the queries that should have reached them."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(escape(row["category"]), anchor=False)
        button("Close", "category", "", id="close-category", icon=":material/close:")
    verdict = row["protected"] if isinstance(row["protected"], str) else "not judged"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**Protected?**", help=text.DEFINITIONS["protection"])
        verdict_badge(VERDICTS.get(verdict), charts.VERDICT_NAMES.get(verdict, verdict))
        st.markdown(escape(row["reason"] or "No reason is stored."))
    names = ("Items", "Codes", "Queries that should reach it")
    places = st.tabs(names, key="show", on_change="rerun", bind="query-params")
    for name, place, draw in zip(names, places, (_items, _codes, _queries), strict=True):
        if place.open:
            with place, panel(f"{name} of the category", height=240):
                draw(row["category"], int(row["n_items"]))


def _items(category: str, n: int) -> None:
    rows = paged_table(
        queries.items, (run, category), rows=n, title="Items, the earliest lost first", key="coverage-items",
        define="funnel", filters={"category": category},
        on_select=lambda: None,
        columns={
            "item_id": "Item", "title": st.column_config.TextColumn("Title", width="medium"), "seller": "Seller", "sid": "SID",
            "n_sharing": st.column_config.NumberColumn("Items with its SID"),
            "n_beams": st.column_config.NumberColumn("Queries that generate it"),
            "best_rank": st.column_config.NumberColumn("Best rank with SIDs"),
            "best_rank_without": st.column_config.NumberColumn("Best rank without"),
            "lost_at": st.column_config.TextColumn("Lost at step", help="The first step of the funnel it does not pass."),
        },
        show=["item_id", "title", "lost_at", "sid", "n_sharing", "n_beams", "best_rank", "best_rank_without", "seller"],
    )  # fmt: skip
    chosen = st.session_state.get("table-coverage-items", {}).get("selection", {}).get("rows", [])
    if chosen and chosen[0] < len(rows):
        row = rows.iloc[chosen[0]]
        link("codebook", f"Item {escape(row['item_id'])} and its code", {"item": row["item_id"], "code": row["sid"]})
    else:
        st.caption("Choose a row for the item's code and the queries that scored it.")


def _codes(category: str, n: int) -> None:
    rows = fetch(queries.codes, run, category, 2)
    if rows.empty:
        nothing("No item of this category has a SID.")
        return
    table(
        rows, title="Its codes of level 2, most of its items first", key="coverage-codes", filters={"category": category},
        define="purity", on_select=lambda: None, n=f"{len(rows):,} codes holding {n:,} items, all",
        columns={
            "prefix": "Code", "label": st.column_config.TextColumn("Label", width="large"),
            "n_mine": st.column_config.NumberColumn("Items of the category"),
            "n_items": st.column_config.NumberColumn("All items"), "top_category": "Main category",
            "n_queries": st.column_config.NumberColumn("Queries reaching it"),
        },
        percent={"share": "Share of the code"},
    )  # fmt: skip
    chosen = st.session_state.get("table-coverage-codes", {}).get("selection", {}).get("rows", [])
    if chosen and chosen[0] < len(rows):
        prefix = str(rows.iloc[chosen[0]]["prefix"])
        link("codebook", f"Card of code {escape(prefix)}", {"code": prefix, "level": 2})
        _query_table(category, prefix)
    else:
        st.caption("Choose a code for its card and for the queries that should have reached the category through it.")


def _queries(category: str, n: int) -> None:
    _query_table(category, "")


def _query_table(category: str, prefix: str) -> None:
    rows = fetch(queries.queries, run, category, prefix)
    if rows.empty:
        nothing(
            "No stored query belongs to this category or has a relevant item in it: nothing tells who should reach it."
        )
        return
    missed = int((rows["match_level"] == 0).sum())
    st.markdown(escape(f"{missed:,} of {len(rows):,} queries have no beam that agrees with any of these items."))
    through = f" through code {prefix}" if prefix else ""
    table(
        rows, title=f"Queries that should reach it{through}, worst served first", key="coverage-queries",
        filters={"category": category, "code": prefix}, on_select=lambda: None,
        define="Queries with a judged relevant item in the category, or whose commonest relevant or clicked category it is. "
        "Match level: how many leading codes the best of its relevant items shares with the query's beams.",
        show=["text", "tier", "frequency", "n_relevant", "match_level", "beam_rank", "best_rank", "best_rank_without"],
        columns={
            "text": st.column_config.TextColumn("Query", width="large"), "tier": "Tier",
            "frequency": st.column_config.NumberColumn("Frequency", format="localized"),
            "n_relevant": st.column_config.NumberColumn("Relevant items here"),
            "match_level": st.column_config.NumberColumn("Match level"),
            "beam_rank": st.column_config.NumberColumn("Best beam"),
            "best_rank": st.column_config.NumberColumn("Best rank with SIDs"),
            "best_rank_without": st.column_config.NumberColumn("Best rank without"),
        },
    )  # fmt: skip
    chosen = st.session_state.get("table-coverage-queries", {}).get("selection", {}).get("rows", [])
    if chosen and chosen[0] < len(rows):
        row = rows.iloc[chosen[0]]
        link("query", f"Where “{escape(row['text'])}” lost it", {"q": row["query_id"], "item": row["item_id"]})
    else:
        st.caption("Choose a row to see where the query lost its item.")


header("Coverage", "Which categories the identifiers serve, which they miss, and whether the tail is protected.")
if has_run():
    run = current().run_id
    stored = fetch(queries.coverage, run)
    if stored.empty:
        unfilled(
            "This run has no coverage by category.",
            needs=("SIDs", "categories"),
            remedy="The catalogue has no categories, or the run was published without its audit: `python -m engine publish`.",
        )
    else:
        left, middle, right = st.columns([2, 1.3, 1.5], gap="large")
        with left:
            head, torso = tier_limits()
        with middle:
            tier = st.segmented_control(
                "Show", ["all", *queries.TIERS], default="all", required=True, key="tier", bind="query-params"
            )
        with right:
            asked = st.text_input(
                "Category", key="category", bind="query-params", placeholder="a full category path",
                help="Set by a click on a chart or a row too.",
            ).strip()  # fmt: skip
        every = queries.retier(stored, head / 100, torso / 100)
        every = every.assign(
            **{f"{c}_points": 100 * every[c] for c in ("low", "high")},
            auc_lift_points=100 * every["auc_lift"],
            reason=every["reason"].map(text.sentence, na_action="ignore"),
        )
        filters: dict[str, object] = {"tier": tier, "head": head, "torso": torso}
        shown = every if tier in (None, "all") else every[every["tier"] == tier]
        match = every[every["category"] == asked]
        if asked and match.empty:
            bad_parameter("category", asked, "Choose one in the table below.")
        elif asked:
            with panel(f"Category {asked}"), st.container(border=True):
                category_card(match.iloc[0])
        with panel("By tier"):
            tiers_table(every, {"head": head, "torso": torso})
        if shown.empty:
            nothing("No category falls into this tier with these limits.")
        else:
            pictures(shown, filters)
            with panel("Categories", height=420):
                categories_table(shown, filters)
