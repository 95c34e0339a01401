"""Coverage: which categories own codes, which are generated, and whether the tail is protected."""

import pandas as pd
import streamlit as st

from app import text
from app.charts import coverage as charts
from app.components import beside, category_card
from app.components.figure import chosen_point, figure, table
from app.components.item_filter import chosen as chosen_filter
from app.components.item_filter import described, item_filter
from app.components.links import choose
from app.components.metric import verdict_badge
from app.components.states import bad_parameter, has_run, header, nothing, panel, unfilled
from app.fetch import current, fetch
from app.queries import coverage as queries
from app.text import escape

DEFAULT_LIMITS = (50, 80)


def tier_limits() -> tuple[int, int]:
    """The tiers' cumulative shares of items."""
    with st.popover("Tiers", icon=":material/stacked_bar_chart:"):
        limits = st.slider(
            "Tier limits (cumulative % of items, largest categories first)", 5, 95, DEFAULT_LIMITS, step=5, key="limits",
            bind="query-params", help=text.DEFINITIONS["category_tier"],
        )  # fmt: skip
    return int(limits[0]), int(limits[1])


def said_limits(head: int, torso: int) -> str:
    """The tiers in words."""
    own = "" if (head, torso) == DEFAULT_LIMITS else " Verdicts and findings elsewhere use 50 and 80 %."
    return f"Head: the largest categories that begin within the first {head} % of items. Torso: up to {torso} %. Tail: the rest.{own}"


def funnel_sentence(rows: pd.DataFrame, of: str) -> str:
    """How far items come, in words; the sums of the rows shown."""
    n = int(rows["n_items"].sum())
    told = {name: int(rows[name].sum()) for name in queries.COUNTS if rows[name].notna().any()}
    parts = [f"Of {n:,} items{of}, {told['has_sid']:,} have a SID"]
    if "in_beam" in told:
        parts.append(f"{told['in_beam']:,} ({text.share(told['in_beam'], n)}) are in a beam of some query")
    if "in_top_k" in told:
        parts.append(
            f"{told['in_top_k']:,} of these ({text.share(told['in_top_k'], n)} of all) are in the top 10 of some query"
        )
    said = f"{text.listed(parts)}."
    if "shown" in told:
        said += f" In a top 10 by a beam or not: {told['shown']:,}."
    return f"{said} {told['unshared']:,} hold their SID alone ({text.share(told['unshared'], n)}); sharing one with alike items is no loss."


def tier_cards(tiers: pd.DataFrame) -> None:
    """Each tier's verdict, its lift and the reason."""
    lifts = fetch(queries.tier_lifts, current().run_id)
    verdicts = queries.tier_verdicts(tiers, lifts)
    with st.grid(len(tiers), min_column_width=230):
        for row in tiers.to_dict("records"):
            verdict, reason = verdicts[row["tier"]]
            with st.container(border=True, gap="xsmall", height="stretch"):
                with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                    st.markdown(f"**{text.sentence(row['tier'])}**", help=text.DEFINITIONS["category_tier"])
                    verdict_badge(category_card.LIGHTS.get(verdict), charts.VERDICT_NAMES[verdict])
                st.markdown(
                    escape(
                        f"{text.plural(row['n_categories'], 'category', 'categories')}, {text.plural(row['n_items'], 'item', 'items')}"
                    )
                )
                n = lifts.loc[lifts["tier"] == row["tier"], "n"]
                asked = (
                    f" ({text.plural(n.iloc[0], 'test query', 'test queries')})"
                    if len(n) and verdict != "n too small"
                    else ""
                )
                st.caption(escape(f"{text.sentence(reason)}{asked}."))


def tiers_table(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """One row a tier."""
    tiers = queries.by_tier(rows)
    for step in (*queries.FUNNEL, "unshared"):
        tiers[f"{step}_share"] = tiers[step] / tiers["n_items"]
    table(
        tiers, title="By tier", key="tiers", filters=filters, define="funnel", n=f"{len(rows):,} categories, all",
        show=[
            "tier", "n_categories", "n_items", *(f"{step}_share" for step in queries.FUNNEL), "protected", "unprotected",
            "too_small", *(["not_judged"] if tiers["not_judged"].any() else []), "unshared_share", "utilisation", "purity", "own_level1",
        ],
        columns={
            "tier": st.column_config.TextColumn("Tier", width=60),
            "n_categories": st.column_config.NumberColumn("Categories", width=80),
            "n_items": st.column_config.NumberColumn("Items", format="localized", width=60),
            "protected": st.column_config.NumberColumn("Protected", width=75, help=text.DEFINITIONS["protection"]),
            "unprotected": st.column_config.NumberColumn("Not protected", width=95),
            "too_small": st.column_config.NumberColumn("n too small to tell", width=110),
            "not_judged": st.column_config.NumberColumn("Not judged", width=80),
        },
        percent={
            "own_level1": "Own level-1 code", "utilisation": "Distinct SIDs / items", "unshared_share": "SID of its own",
            "purity": "Purity", "has_sid_share": "Has a SID", "in_beam_share": "In a beam", "in_top_k_share": "In a top 10",
        },
    )  # fmt: skip


def from_charts() -> None:
    """A category chosen in a chart."""
    for key in ("gaps", "lifts"):
        point = chosen_point(key)
        if point is not None:
            choose("category", str(point[0] if isinstance(point, list | tuple) else point))


def funnel_chart(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """How far items come, by tier."""
    tiers = queries.by_tier(rows)
    tail = tiers[tiers["tier"] == "tail"]
    known = len(tail) > 0 and bool(tail["in_beam"].notna().all())
    reach = text.share(tail["in_beam"].sum(), tail["has_sid"].sum()) if known else "an unknown share"
    figure(
        charts.funnel(tiers), title="How far items come", subtitle="Funnel by tier: each step within the one before",
        data=tiers, n=f"{int(tiers['n_items'].sum()):,} items, all", define="funnel", filters=filters, key="funnel",
        alt=f"Funnel from SID to top 10 by tier; {reach} of tail items with a SID are in a beam.",
    )  # fmt: skip


def gaps_chart(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """Categories by size and reach."""
    if rows["in_beam"].isna().all():
        st.subheader("Which categories are missed", anchor=False, help=text.DEFINITIONS["protection"])
        unfilled("Which items are in beams was not measured in this run.", needs=("beams",))
        return
    figure(
        charts.gaps(rows), title="Which categories are missed",
        subtitle="● protected, ✕ not protected, ○ n too small. Click one to follow it to its items, codes and queries",
        data=rows, n=f"{len(rows):,} categories, all", define="protection", filters=filters, key="gaps",
        on_select=from_charts, opens="category",
        alt=f"{int((rows['in_beam'] == 0).sum())} of {len(rows)} categories have no item that is in a beam.",
    )  # fmt: skip


def lifts_chart(rows: pd.DataFrame, filters: dict[str, object]) -> None:
    """AUC lifts, own and of departments."""
    told, few = charts.told_lifts(rows), int(rows["auc_lift"].isna().sum())
    if told.empty:
        st.subheader("AUC lift", anchor=False, help=text.DEFINITIONS["lift"])
        unfilled(
            "Neither a category nor a department has enough test queries for a lift: n too small everywhere.",
            needs=("scores with SIDs", "scores without SIDs"),
        )
        return
    below = int((told["high"] < 0).sum())
    own = int((told["whose"] == "category").sum())
    figure(
        charts.lifts(told), title="AUC lift, worst first",
        subtitle="95 % intervals; (n) test queries. A department's lift stands for the department, not for its categories",
        data=told, key="lifts", define="lift", on_select=from_charts, opens="category", filters=filters,
        n=f"worst {min(len(told), 16)} of {len(told)} lifts: {text.plural(own, 'category', 'categories')} by their own test queries, "
        f"{text.plural(len(told) - own, 'department', 'departments')}; {few} of {len(rows)} categories have too few of their own",
        alt=f"AUC lift of {own} categories and {len(told) - own} departments; {below} lie below zero with their whole interval.",
    )  # fmt: skip


def lorenz_chart() -> None:
    """How evenly codes are used, in words first."""
    use = fetch(queries.code_use, current().run_id)
    if use.empty:
        nothing("This run has no codes.")
        return
    said = [
        f"level {level}: the fullest {n:,} of {of:,} codes hold {100 * share:.0f} % of the items"
        for level, (n, of, share) in charts.fullest(use).items()
    ]
    ginis = ", ".join(f"level {level} {value:.3f}" for level, value in charts.ginis(use).items())
    figure(
        charts.lorenz_curves(use), title="How evenly codes are used", data=use, define="lorenz", key="lorenz",
        subtitle=f"{text.sentence('; '.join(said))}. Unused codes of level 1 count too", n=f"{len(use):,} codes and prefixes, all",
        alt=f"Lorenz curves of code use; Gini by level: {ginis}.",
    )  # fmt: skip


def categories_table(rows: pd.DataFrame, filters: dict[str, object], whole: bool) -> None:
    """Every category of the chosen tier; a row chooses it."""
    number, words = st.column_config.NumberColumn, st.column_config.TextColumn
    table(
        rows, title="Categories", key="categories", filters=filters, define="protection", height=320, heading=False,
        n=f"{len(rows):,} categories" + ("" if whole else ", counting the filtered items; lifts and verdicts are of whole categories"),
        chooses=("category", "category"),
        show=[
            "name", "tier", "n_items", *([] if whole else ["n_all"]), "verdict", "judged_by", "reach", "page_one", "auc_lift_points",
            "low_points", "high_points", "n_queries", "pooled", "unshared", "utilisation", "purity", "own_level1", "codes_owned",
            "codes_shared", "reason", "category",
        ],
        columns={
            "name": words("Category", pinned=True, width=150), "category": words("Full path", width=220), "tier": words("Tier", width=55),
            "n_items": number("Items", format="localized", width=60), "n_all": number("of all", format="localized", width=60),
            "verdict": words("Protected?", width=95, help=text.DEFINITIONS["protection"]),
            "judged_by": words("judged by", width=85, help="Its own test queries, or where they are too few its department's."),
            "auc_lift_points": number("Own AUC lift, pp", format="%+.2f", width=95, help=text.DEFINITIONS["lift"] + " Empty: n too small."),
            "low_points": number("from, pp", format="%+.2f", width=70), "high_points": number("to, pp", format="%+.2f", width=70),
            "n_queries": number("Own test queries", width=95),
            "pooled": words("Pooled over its department", width=250, help="Of the whole department, never the category's own."),
            "codes_owned": number("SIDs owned"), "codes_shared": number("SIDs shared"), "own_level1": "Own level-1 code",
            "unshared": number("With a SID of their own", help=text.DEFINITIONS["unshared"]), "reason": words("Reason", width="large"),
        },
        percent={"reach": "In a beam", "page_one": "In a top 10", "utilisation": "Distinct SIDs / items", "purity": "Purity"},
    )  # fmt: skip


def told(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with words, shares and percentage points for the screen, those that are not protected first."""
    if rows.empty:
        return rows
    rows = rows.sort_values("protected", key=lambda said: said != "no", kind="stable")
    pooled = [category_card.lift_sentences(row)[1] for _, row in rows.iterrows()]
    return rows.assign(
        verdict=[charts.VERDICT_NAMES.get(v, v) for v in rows["protected"].fillna("not judged")],
        judged_by=rows["judged_by"].replace("category", "itself"),
        pooled=pd.Series(
            [p.removeprefix("Pooled over ").partition(";")[0] or None for p in pooled], index=rows.index, dtype=object
        ),
        reach=rows["in_beam"].astype(float) / rows["has_sid"].where(rows["has_sid"] > 0),
        page_one=rows["in_top_k"].astype(float) / rows["n_items"],
        **{f"{c}_points": 100 * rows[c] for c in ("auc_lift", "low", "high")},
    )


def resolved(asked: str, rows: pd.DataFrame) -> str:
    """The full path of a category written in full or by its own name, whatever the case; '' where there is none such."""
    if asked in set(rows["category"]):
        return asked
    same = asked.casefold()
    found = rows[(rows["category"].str.casefold() == same) | (rows["name"].astype(str).str.casefold() == same)]
    return str(found["category"].iloc[0]) if len(found) == 1 else ""


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
        with st.container(horizontal=True, vertical_alignment="bottom", key="coverage-controls"):
            tier = st.segmented_control(
                "Show",
                ["all", *queries.TIERS],
                default="all",
                required=True,
                key="tier",
                bind="query-params",
                width="content",
            )
            if meant := st.session_state.pop("_meant", None):
                st.session_state["category"] = meant
            asked = st.text_input(
                "Category", key="category", bind="query-params", placeholder="a name, or choose a row", width=260
            ).strip()  # fmt: skip
            head, torso = tier_limits()
            which = item_filter()
        st.caption(escape(said_limits(head, torso)))
        every = queries.retier(stored, head / 100, torso / 100)
        category = resolved(asked, every) if asked else ""
        if category and category != asked:  # as the table writes it: next, previous and the marked row go by that
            st.session_state["_meant"] = category
            st.rerun()
        every = every.assign(reason=every["reason"].map(text.sentence, na_action="ignore"))
        filters: dict[str, object] = {"tier": tier, "head": head, "torso": torso, **chosen_filter()}
        counted = queries.narrowed(every, fetch(queries.counted, run, which)) if which.active else every
        shown = told(counted if tier in (None, "all") else counted[counted["tier"] == tier])
        if shown.empty:
            nothing(
                "No category of this tier has such items."
                if which.active
                else "No category falls into this tier with these limits."
            )
        else:
            of = (f" of {described(which)}" if which.active else "") + (
                f" in {tier} categories" if tier not in (None, "all") else ""
            )
            st.markdown(escape(funnel_sentence(shown, of)), help=text.DEFINITIONS["funnel"])
            with panel("Categories", height=320):
                categories_table(shown, filters, not which.active)
        if asked and not category:
            near = [*every["category"], *every["name"].dropna().unique()]
            bad_parameter("category", asked, "Choose one in the table.", near=near)
        elif category:
            with panel(f"Category {category}"), st.container(border=True):
                order = list(shown["category"]) if len(shown) else []
                of_it = counted if category in set(counted["category"]) else every
                row = of_it[of_it["category"] == category].iloc[0]
                category_card.category_card(row, order, which)
        with panel("By tier"):
            st.subheader("Is the tail protected?", anchor=False, help=text.DEFINITIONS["protection"])
            if (head, torso) == DEFAULT_LIMITS:
                tier_cards(queries.by_tier(every))
            else:
                st.caption("Verdicts on whole tiers are known for the usual limits, 50 and 80 %.")
            if len(counted):
                tiers_table(counted, {"head": head, "torso": torso, **chosen_filter()})
        if len(shown):
            with st.grid(2, min_column_width=380, gap="large"):
                for name, draw in (
                    ("Funnel", funnel_chart),
                    ("Categories by size and reach", gaps_chart),
                    ("Lift by category", lifts_chart),
                ):
                    with st.container(), panel(name, height=360):
                        draw(shown, filters)
                with st.container(), panel("Lorenz curve", height=360):
                    lorenz_chart()
        beside.coverage()
