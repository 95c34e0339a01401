"""The Sellers & categories page from the entry point: choices, causes, small n, bad links."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path

import duckdb
import pytest
from exact_ranker import only_snapshot
from filled_snapshot import HOSTILE
from streamlit.testing.v1 import AppTest

from app import text
from app.one_page import OnePage, Section, answer, document, numbers
from tests.app.told import plain

Open = Callable[..., AppTest]


def biggest(workspace: Path, dimension: str, discount: str = "log2") -> str:
    """The value whose exposure changed most."""
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        row = connection.execute(
            'SELECT "value" FROM exposure WHERE dimension = ? AND discount = ? ORDER BY abs(difference) DESC, 1 LIMIT 1',
            [dimension, discount],
        ).fetchone()
    assert row is not None
    return str(row[0])


def everyone(page: AppTest):  # type: ignore[no-untyped-def]
    """The table of all values."""
    return next(f.value for f in page.dataframe if "in_words" in f.value.columns)


def test_the_page_shows_every_seller_and_concentration(open_page: Open, workspace: Path) -> None:
    page = open_page("sellers", workspace)
    assert not page.exception
    assert not page.error
    rows = everyone(page)
    assert rows["share"].sum() == pytest.approx(1)
    assert {plain(m.label) for m in page.metric} >= {f"{text.METRIC_NAMES[name]} with SIDs" for name in ("hhi", "gini")}


def test_small_n_hides_interval_and_verdict(open_page: Open, workspace: Path) -> None:
    rows = everyone(open_page("sellers", workspace))
    small = rows["effective_n"] < text.LEAST_QUERIES
    assert small.any()
    assert (rows.loc[small, "verdict"] == text.TOO_SMALL).all()
    assert rows.loc[small, ["low_pct", "high_pct", "q_value"]].isna().all(axis=None)
    assert not (rows.loc[~small, "verdict"] == text.TOO_SMALL).any()
    thin = rows["n_merit_pairs"] < text.LEAST_QUERIES
    assert rows.loc[thin, "per_merit"].isna().all()


@pytest.mark.parametrize("dimension", ["seller", "category", "brand", "price band", "age"])
def test_a_value_leads_to_causes_that_add_up(open_page: Open, workspace: Path, dimension: str) -> None:
    value = biggest(workspace, dimension.replace(" ", "_"), "click")
    for view in ("By signal", "By code", "By query", "By item"):
        page = open_page("sellers", workspace, dimension=dimension, value=value, discount="click", told=view)
        assert not page.exception
        assert not page.error
        assert any("Parts add up to" in c.value for c in page.caption)
        assert any("go through SIDs" in m.value for m in page.markdown)
        links = [f.value["open"].dropna() for f in page.dataframe if "open" in f.value.columns]
        assert len(links) == (view != "By signal")
        assert all("snapshot=" in address and "run=" in address for column in links for address in column)


@pytest.mark.parametrize("dimension", ["seller", "category"])
def test_a_crossing_adds_up_to_the_whole(open_page: Open, workspace: Path, dimension: str) -> None:
    value = biggest(workspace, dimension)
    page = open_page("sellers", workspace, dimension=dimension, value=value, told="By part of it")
    assert not page.exception
    assert not page.error
    parts = next(
        f.value for f in page.dataframe if "difference" in f.value.columns and "in_words" not in f.value.columns
    )
    whole = everyone(page).set_index("value").loc[value]
    for name in ("difference", "share", "n_items"):
        assert parts[name].sum() == pytest.approx(whole[name], abs=1e-9)
    assert (parts.loc[parts["effective_n"] < text.LEAST_QUERIES, "verdict"] == text.TOO_SMALL).all()


def test_an_attribute_of_the_items_is_a_dimension(open_page: Open, workspace: Path) -> None:
    page = open_page("sellers", workspace, dimension="other", attribute="colour", value=HOSTILE)
    assert not page.exception
    assert not page.error
    rows = everyone(page)
    assert rows["share"].sum() == pytest.approx(1)
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        counted = connection.execute("SELECT attributes->>'colour', count(*) FROM items GROUP BY 1").fetchall()
    assert dict(counted) == dict(zip(rows["value"], rows["n_items"], strict=True))
    assert "Queries add up to" in words(page)
    page = open_page("sellers", workspace, dimension="other", attribute="a/b~c.\"d'")
    assert not page.exception
    assert set(everyone(page)["value"]) == {"0", "1", "(unknown)"}


def test_names_are_found_whatever_their_case_and_near_ones_offered(open_page: Open, workspace: Path) -> None:
    page = open_page("sellers", workspace, value="alpha")
    assert page.text_input(key="value").value == "Alpha"
    assert "Alpha" in [h.value for h in page.header]
    page = open_page("sellers", workspace, value="Alphe")
    page = next(b for b in page.button if b.label == "Alpha").click().run()
    assert "Alpha" in [h.value for h in page.header]


def test_the_file_tells_what_the_page_tells_and_acts_on_no_title(open_page: Open, workspace: Path) -> None:
    page = open_page("sellers", workspace, value="Alpha")
    row = everyone(page).set_index("value", drop=False).loc["Alpha"]
    told = OnePage(
        "Seller",
        HOSTILE,
        answer("Seller", HOSTILE, row),
        numbers(row),
        [Section("Examples", [HOSTILE, HOSTILE])],
        [(HOSTILE, -0.5)],
        [HOSTILE],
    )
    made = document(told)
    assert "<b>Bold" not in made
    assert made.count("&lt;b&gt;Bold") == 7
    assert not any(active in made for active in ("<script", "http-equiv", " src=", " href="))
    for number in numbers(row):
        assert escape(number.value) in made
        assert (number.label, number.value) in [(m.label, m.value) for m in page.metric]
    assert words(page).count(answer("Seller", "Alpha", row)) == 1


def test_the_sentence_of_a_cause_is_computed_from_the_contributions(open_page: Open, ranked_workspace: Path) -> None:
    """Every number of it, and the level and signal that it names, recomputed from the stored causes by SQL."""
    value = biggest(ranked_workspace, "seller", "top10")
    page = open_page("sellers", ranked_workspace, value=value, discount="top10")
    said = next(m.value for m in page.markdown if "go through SIDs" in m.value).replace("\\", "")
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        [(whole,)] = connection.execute(
            "SELECT difference FROM exposure WHERE dimension = 'seller' AND discount = 'top10' AND \"value\" = ?",
            [value],
        ).fetchall()
        of_part = dict(
            connection.execute(
                "SELECT part, sum(net) FROM causes WHERE told = 'prefix' AND dimension = 'seller' AND discount = 'top10' "
                'AND "value" = ? GROUP BY part', [value],
            ).fetchall()
        )  # fmt: skip
        levels = connection.execute(
            "SELECT level, sum(net), arg_max(signal, net * $side) FROM causes WHERE told = 'signal' AND part = 'through SIDs' "
            "AND dimension = 'seller' AND discount = 'top10' AND \"value\" = $value GROUP BY level ORDER BY sum(net) * $side DESC",
            {"value": value, "side": 1 if of_part["through SIDs"] >= 0 else -1},
        ).fetchall()  # fmt: skip
    level, net, signal = levels[0]
    points = {part: text.number(amount, "share_points") for part, amount in of_part.items()}
    assert said.startswith(f"Of the {text.number(whole, 'share_points')}, {points['through SIDs']} go through SIDs ")
    name = "" if signal is None else f", mostly {text.feature_name(f'sid.{signal}').removeprefix('SID: ').lower()}"
    assert f"(level {level}: {text.number(net, 'share_points')}{name})" in said.replace("Generator", "generator")
    assert f"{points['not through SIDs']} not through SIDs" in said
    assert sum(of_part.values()) == pytest.approx(whole, abs=1e-9)


@pytest.mark.parametrize("cohort", ["all", "seller", "moved"])
def test_the_sentence_of_drivers_is_computed_from_the_contributions(
    open_page: Open, ranked_workspace: Path, cohort: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert text.TOO_SMALL in words(open_page("sellers", ranked_workspace))
    monkeypatch.setattr(text, "LEAST_QUERIES", 5)
    page = open_page("sellers", ranked_workspace, cohort=cohort)
    assert not page.exception
    assert not [w.value for w in page.warning]
    assert next(c.value for c in page.button_group if c.label == "Of") == cohort
    rows = next(f.value for f in page.dataframe if "mean_absolute" in f.value.columns)
    chosen = next((s.value for s in page.selectbox if s.label == "Which"), "all")
    with duckdb.connect(str(only_snapshot(ranked_workspace)), read_only=True) as connection:
        where = {"all": "true", "seller": "seller = $value", "moved": _MOVED}[cohort]
        sizes = connection.execute(
            f"""
            SELECT CASE WHEN starts_with(c.feature, 'sid_') THEN 'semantic identifiers' ELSE c.feature END AS player,
                   sum(abs(c.value) * q.frequency) AS size, any_value($value)
            FROM contributions c JOIN scores s USING (run_id, query_id, item_id) JOIN queries q USING (query_id)
            JOIN items i USING (item_id)
            WHERE s.rank <= 8 AND q.frequency > 0 AND {where} GROUP BY player ORDER BY size DESC
            """,
            {"value": chosen},
        ).fetchall()
    total = sum(size for _, size, _ in sizes)
    said = next(m.value for m in page.markdown if "What decides the place" in m.value).replace("\\", "").lower()
    for kind, size, _ in sizes:
        name = text.FEATURE_NAMES.get(kind, kind).lower()
        assert (f"{name} ({100 * size / total:.0f} %)" in said) == (size / total >= 0.05), kind
    assert rows["share"].sum() == pytest.approx(100)


_MOVED = """CASE WHEN s.rank < s.rank_without_sid THEN 'gained' WHEN s.rank > s.rank_without_sid THEN 'lost'
            ELSE 'unmoved' END = $value"""


def test_causes_that_do_not_add_up_are_not_trusted(open_page: Open, workspace: Path, tmp_path: Path) -> None:
    broken = tmp_path / "workspace"
    shutil.copytree(workspace, broken, ignore=shutil.ignore_patterns("leases"))
    value = biggest(broken, "seller")
    with duckdb.connect(str(only_snapshot(broken))) as connection:
        connection.execute('UPDATE exposure SET difference = difference + 0.01 WHERE "value" = ?', [value])
    page = open_page("sellers", broken, value=value)
    assert any("do not trust these causes" in e.value for e in page.error)


def test_bad_parameters_leave_a_usable_page(open_page: Open, workspace: Path) -> None:
    page = open_page("sellers", workspace, dimension="planet", discount="free", value="Nobody & Sons")
    assert not page.exception
    said = " ".join(w.value for w in page.warning)
    assert "planet" in said
    assert "free" in said
    assert "Nobody" in said
    assert len(everyone(page)) > 0


def test_intervals_rest_on_the_queries_that_have_traffic(open_page: Open, own_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(own_workspace))) as connection:
        connection.execute("UPDATE queries SET frequency = 0 WHERE query_id = (SELECT min(query_id) FROM scores)")
        row = connection.execute(
            """
            SELECT count(DISTINCT query_id) FROM scores JOIN queries USING (query_id) JOIN runs USING (run_id)
            WHERE method = 'dsirm' AND retrieved AND frequency > 0
            """
        ).fetchone()
    assert row is not None
    page = open_page("sellers", own_workspace)
    assert any(f"n \\= {row[0]:,} queries" in c.value for c in page.caption)


def test_small_changes_keep_their_digits(open_page: Open, workspace: Path) -> None:
    assert text.number(0.000058, "share_points") == "+0.006 pp"
    assert text.interval(-0.000141, -0.000013, "share_points") == "[-0.014, -0.001] pp"
    page = open_page("sellers", workspace, value=biggest(workspace, "seller"))
    change = next(m.value for m in page.metric if m.label == "Change of exposure")
    assert change == text.TOO_SMALL or len(change.removesuffix(" pp").split(".")[1]) == 3


def test_the_simulation_says_what_it_is_and_what_it_rests_on(
    open_page: Open, own_workspace: Path, boosted_workspace: Path
) -> None:
    with duckdb.connect(str(only_snapshot(own_workspace))) as connection:
        connection.execute("UPDATE online SET effective_n = 300")
    page = open_page("sellers", own_workspace)
    assert not page.exception
    assert not page.error
    row = stored(own_workspace, "SELECT * FROM online WHERE metric = 'uctr' AND scenario = 'estimate'")
    said = words(page)
    assert "A simulation, not a measurement" in said
    cards = {plain(m.label): m.value for m in page.metric}
    assert cards["Sessions with a click, relative change"] == f"{100 * row['relative']:+.1f} %"
    assert row["examination"] == "fitted"
    assert (
        f"{int(stored(own_workspace, decay('n'))['n']):,} clicks on items that were shown at two places or more" in said
    )
    figures = [c.proto.spec for c in page.get("plotly_chart") if "simulation" in c.proto.spec]
    assert len(figures) == 3, "the effect, its sources, the attention"
    assert "only the relative change means something" not in said.lower()
    stated = words(open_page("sellers", boosted_workspace))
    assert "only the relative change means something" in stated.lower()
    assert "the interval also spans 0.5 and 1.5" in stated
    assert "worth 9 equally frequent ones, fewer than 30" in stated


def decay(column: str) -> str:
    return f"SELECT {column} FROM click_model WHERE parameter = 'decay'"


def stored(workspace: Path, sql: str) -> dict[str, object]:
    """The one row of a query on the snapshot."""
    with duckdb.connect(str(only_snapshot(workspace)), read_only=True) as connection:
        (row,) = connection.execute(sql).df().to_dict("records")
    return row


def words(page: AppTest) -> str:
    kinds = ("subheader", "markdown", "caption", "info", "warning", "header")
    return "\n".join(str(e.value) for kind in kinds for e in page.get(kind)).replace("\\", "")


def test_a_run_without_a_simulation_says_so(open_page: Open, own_workspace: Path) -> None:
    with duckdb.connect(str(only_snapshot(own_workspace))) as connection:
        connection.execute("DELETE FROM online")
    page = open_page("sellers", own_workspace)
    assert not page.exception
    assert any("No online effect was simulated" in i.value for i in page.info)
