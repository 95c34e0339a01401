"""Every page of this file's part, opened from the entry point: full, empty, without runs, and without a snapshot."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from filled_snapshot import HOSTILE, OTHER_RUN, RUN, SNAPSHOT, write_snapshot
from streamlit.testing.v1 import AppTest

from app.text import clicked

Open = Callable[..., AppTest]
VIEWS = ("overview", "codebook", "coverage", "query", "explain", "what_if", "sellers", "data")


def words(page: AppTest) -> str:
    """Everything the page says, in one string."""
    kinds = (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "info",
        "warning",
        "error",
        "metric",
        "code",
        "text",
    )
    return "\n".join(str(e.value) + str(getattr(e, "label", "")) for kind in kinds for e in page.get(kind))


def unescaped(page: AppTest) -> str:
    return words(page).replace("\\", "")


def healthy(page: AppTest) -> AppTest:
    """No exception, and no panel that failed."""
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    return page


@pytest.mark.parametrize("view", VIEWS)
def test_full_snapshot(open_page: Open, workspace: Path, view: str) -> None:
    page = healthy(open_page(view, workspace))
    assert page.title[0].value


@pytest.mark.parametrize("view", VIEWS)
def test_snapshot_without_rows(open_page: Open, bare_workspace: Path, view: str) -> None:
    page = healthy(open_page(view, bare_workspace))
    assert page.info or page.warning, "an empty page must say what is missing"


@pytest.mark.parametrize("view", VIEWS)
def test_snapshot_without_runs(open_page: Open, empty_workspace: Path, view: str) -> None:
    page = healthy(open_page(view, empty_workspace))
    assert "python -m engine train" in words(page)


@pytest.mark.parametrize("view", VIEWS)
def test_no_snapshot(open_page: Open, tmp_path: Path, view: str) -> None:
    page = healthy(open_page(view, tmp_path))
    assert "python -m engine demo" in words(page)


def test_corrupt_snapshot_says_so_and_how_to_mend_it(open_page: Open, own_workspace: Path) -> None:
    (own_workspace / "snapshots" / f"{SNAPSHOT}.duckdb").write_bytes(b"not a database" * 100)
    page = open_page("overview", own_workspace)
    assert not page.exception
    assert "cannot be read" in unescaped(page)
    assert "python -m engine publish" in words(page)


def test_link_to_a_pruned_snapshot_offers_the_current_one(open_page: Open, own_workspace: Path) -> None:
    page = open_page("overview", own_workspace, snapshot="snap-pruned")
    assert "is not in" in unescaped(page)
    (button,) = [b for b in page.button if "current snapshot" in b.label]
    assert healthy(button.click().run()).title[0].value == "Overview"


@pytest.mark.parametrize(
    "form", ["../../other/snapshots/{id}", "{other}/snapshots/{id}", "{id}\0", "snap-" + "a" * 5_000]
)
def test_a_link_opens_no_snapshot_of_another_workspace(
    open_page: Open, own_workspace: Path, tmp_path: Path, form: str
) -> None:
    shutil.rmtree(own_workspace / "snapshots" / "leases", ignore_errors=True)  # copied
    other = tmp_path / "other"
    write_snapshot(other, fill="empty", snapshot_id="snap-22222222test")
    before = sorted(other.rglob("*"))
    page = open_page("overview", own_workspace, snapshot=form.format(id="snap-22222222test", other=other))
    assert not page.exception
    assert page.title[0].value == "This snapshot cannot be opened"
    assert all(len(error.value) < 600 for error in page.error)
    assert sorted(other.rglob("*")) == before
    assert len(list((own_workspace / "snapshots" / "leases").iterdir())) == 1, "of the page opened first"


def test_sessions_share_one_handle(open_page: Open, own_workspace: Path) -> None:
    shutil.rmtree(own_workspace / "snapshots" / "leases", ignore_errors=True)  # copied
    for view in ("overview", "codebook", "overview"):
        healthy(open_page(view, own_workspace))
    assert len(list((own_workspace / "snapshots" / "leases").iterdir())) == 1


def test_session_keeps_its_snapshot_until_asked(open_page: Open, own_workspace: Path) -> None:
    page = healthy(open_page("overview", own_workspace))
    write_snapshot(own_workspace, snapshot_id="snap-11111111test")
    page.run()
    assert page.query_params["snapshot"] in (SNAPSHOT, [SNAPSHOT])
    assert "newer snapshot is ready" in words(page)
    (button,) = [b for b in page.button if "Reload" in b.label]
    page = healthy(button.click().run())
    assert page.query_params["snapshot"] in ("snap-11111111test", ["snap-11111111test"])


def test_unknown_run_in_a_link(open_page: Open, workspace: Path) -> None:
    page = healthy(open_page("overview", workspace, run="dsirm-00000000"))
    assert "dsirm-00000000" in unescaped(page)
    assert RUN in unescaped(page)


def test_run_picker_with_one_run_and_with_two(open_page: Open, workspace: Path, two_runs_workspace: Path) -> None:
    (picker,) = [s for s in open_page("overview", workspace).selectbox if s.label == "Run"]
    assert len(picker.options) == 1
    page = healthy(open_page("overview", two_runs_workspace))
    (picker,) = [s for s in page.selectbox if s.label == "Run"]
    assert picker.options == ["DSIRM · 11111111", "DSIRM · 22222222"]
    page = healthy(picker.set_value(OTHER_RUN).run())
    assert f"Run {OTHER_RUN}" in unescaped(page)
    assert page.query_params["run"] in (OTHER_RUN, [OTHER_RUN])
    assert f"Run {OTHER_RUN}" in unescaped(healthy(open_page("overview", two_runs_workspace, run=OTHER_RUN)))


class TestOverview:
    def test_headline_has_both_values_interval_and_paired_test(self, open_page: Open, workspace: Path) -> None:
        page = open_page("overview", workspace)
        metrics = [(m.label, m.value) for m in page.metric][3:6]
        assert metrics == [("with SIDs", "0.850"), ("without SIDs", "0.800"), ("difference", "+5.00 pp")]
        assert "95 % interval [0.830, 0.870] · n = 400 queries" in unescaped(page)
        assert "(AUC)**: better, interval clear of zero (paired by query, p < 0.001)." in unescaped(page)

    def test_headline_is_of_the_runs_own_ranker_and_its_baseline(
        self, open_page: Open, boosted_workspace: Path
    ) -> None:
        page = healthy(open_page("overview", boosted_workspace))
        metrics = [(m.label, m.value) for m in page.metric][3:6]
        assert metrics == [("with SIDs", "0.860"), ("without SIDs", "0.810"), ("difference", "+5.00 pp")]
        said = unescaped(healthy(open_page("overview", boosted_workspace, details="This run")))
        assert (
            "ranked by gradient boosting, with the SID signals match with a beam, generator's probability and memory"
            in said
        )
        page = healthy(open_page("overview", boosted_workspace, details="Ranker by ranker"))
        assert "12 of 21 rankers" in unescaped(page)
        (toggle,) = [t for t in page.toggle if t.key == "rungs"]
        assert "21 of 21 rankers" in unescaped(healthy(toggle.set_value(True).run()))

    def test_nothing_is_said_of_rankers_that_are_above_raw_cosine(self, open_page: Open, workspace: Path) -> None:
        assert "raw cosine" not in unescaped(open_page("overview", workspace))

    @pytest.mark.parametrize(
        ("low", "high", "said"),
        [
            (-0.03, 0.02, "The ranker that serves this run cannot be told from raw cosine, which needs no training"),
            (-0.03, -0.01, "The ranker that serves this run is worse than raw cosine, which needs no training"),
        ],
    )
    def test_a_served_ranker_that_does_not_beat_raw_cosine_is_warned_of(
        self, open_page: Open, own_workspace: Path, low: float, high: float, said: str
    ) -> None:
        (path,) = (own_workspace / "snapshots").glob("*.duckdb")
        with duckdb.connect(str(path)) as connection:
            connection.execute(
                "UPDATE comparisons SET difference = -0.02, low = ?, high = ?, n = 35 "
                "WHERE ranker = 'sid' AND baseline = 'cosine' AND segment = 'all' AND metric = 'auc'",
                [low, high],
            )
        page = healthy(open_page("overview", own_workspace))
        numbers = (
            f"AUC 0.850 against 0.600, difference -2.00 pp [{100 * low:.2f}, {100 * high:+.2f}] pp, 35 test queries"
        )
        (warning,) = [w.value for w in page.warning if "cosine" in w.value]
        assert f"{said} ({numbers})" in warning.replace("\\", "")

    def test_the_gap_between_trained_on_and_held_out_is_said(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(open_page("overview", workspace, details="How well the model guesses"))
        assert (
            "a generator that was trained on a query hit 90.0 % of the time, those of one that never saw it 42.0 %"
            in said
        )
        assert "(+48.00 pp on the same queries). Test queries: 40.0 %." in said

    def test_flags_are_said_in_words(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(open_page("overview", workspace))
        assert "guessed from other fields:** categories" in said
        assert "Simulated:** image embeddings" in said
        assert "1 of 24 queries were made from item fields" in said

    def test_findings_in_order_and_stories(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(open_page("overview", workspace))
        assert said.index("is not protected") < said.index("Level 1 has dead codes")
        assert "Of 3 things looked at: 1 to act on, 1 to note and 1 well." in said
        assert said.index("dead codes") < said.index("What is well") < said.index("none of 3 clearly loses")
        assert said.index("A query won") < said.index("A query lost")

    def test_opens_with_a_query_its_beams_and_a_named_item(
        self, open_page: Open, workspace: Path, cursor: duckdb.DuckDBPyConnection
    ) -> None:
        story = cursor.execute(
            """SELECT s.* EXCLUDE (sid), i.title, d.sid, q.text FROM stories s JOIN items i USING (item_id) JOIN queries q USING (query_id)
               JOIN sids d USING (run_id, item_id) WHERE s.kind = 'example'"""
        ).df().iloc[0]  # fmt: skip
        said = unescaped(healthy(open_page("overview", workspace)))
        strip = said[said.index("A semantic identifier (SID) is") : said.index("A query won")]
        assert f"**{story['text']}**" in strip
        assert f"**{story['title']}**" in strip
        codes = story["sid"].split("-")
        for level, code in enumerate(codes, 1):
            label, n = cursor.execute(
                "SELECT label, n_items FROM codes WHERE prefix = ?", ["-".join(codes[:level])]
            ).fetchone()  # type: ignore[misc]
            mark = "✓" if level <= len(story["matched_prefix"].split("-")) else "✗"
            assert f"{mark} **{code}** {label or 'no name'} · {n} item" in strip
        assert "**14** without SIDs → **3** with SIDs: ▲ 11 up" in strip
        beams = [sid for (sid,) in cursor.execute(
            "SELECT sid FROM beams WHERE query_id = ? ORDER BY rank", [story["query_id"]]
        ).fetchall()]  # fmt: skip
        shown = [line for line in strip.splitlines() if "% likely" in line]
        assert len(shown) == 3
        assert all(any(f"**{sid}**" in line for sid in beams) for line in shown)
        assert any(line.startswith("✓") for line in shown)

    def test_six_lights_with_words(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(open_page("overview", workspace))
        for title in (
            "Codes in use (utilisation)",
            "Unlike items under one SID (aliasing)",
            "Codes keep to one category (purity)",
            "Small categories served (tail protection)",
            "Guessed SIDs exist (beam validity)",
            "Exposure in few hands (concentration)",
        ):
            assert f"**{title}**" in said


class TestCodebook:
    def test_code_card(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, code="0"))
        said = unescaped(page)
        assert "Code **0**, level 1" in said
        assert "All in Home > Lamps; 3 sellers, 2 brands; price " in said
        assert "Belongs to Home > Lamps." in said
        assert [t.value for t in page.text_input if t.label == "Code"] == ["0"]

    def test_merged_categories_are_named(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(healthy(open_page("codebook", workspace, code="2")))
        assert "Belongs to Garden > Hoses, Garden > Tools (merged" in said

    def test_bad_code_and_item_leave_a_usable_page(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, code="99-1", item="nobody"))
        assert "No code is called, or reads, “99-1”" in unescaped(page)
        assert "“nobody”" in unescaped(page)
        assert page.title[0].value == "Codebook"

    def test_an_item_alone_shows_its_code_at_the_level(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(healthy(open_page("codebook", workspace, item="I100", level="1")))
        assert "Code **2**, level 1" in said
        assert "Item I100" in said

    def test_an_item_outside_the_chosen_code_says_so(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(healthy(open_page("codebook", workspace, item="I100", code="0")))
        assert re.search(r"The chosen item “.*” lies elsewhere, in .* \(2-\d-\d\)", said)

    def test_item_shows_hostile_title_as_text(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, item="I000"))
        assert HOSTILE in [t.value for t in page.text]
        assert HOSTILE not in "\n".join(m.value for m in page.markdown), "only escaped in Markdown"

    @pytest.mark.parametrize("section", ["Items", "Mix", "Distances", "Siblings", "Queries", "Sharing"])
    def test_every_section_of_a_card(self, open_page: Open, workspace: Path, section: str) -> None:
        healthy(open_page("codebook", workspace, code="0-1", card=section))

    @pytest.mark.parametrize("view", ["Map", "Tree", "Table", "Shared SIDs"])
    def test_every_view(self, open_page: Open, workspace: Path, view: str) -> None:
        healthy(open_page("codebook", workspace, view=view, code="2"))

    def test_dead_code_says_so(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, code="3", card="Items"))
        assert "Dead: no item holds it" in unescaped(page)
        assert "No item holds this code" in words(page)

    def test_health_marks_what_holds_by_construction(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, health="true"))
        strip = next(d.value for d in page.dataframe if "Measure" in d.value)
        row = strip.set_index("Measure").loc["Utilisation"]
        assert row["Level 1"] == "75.0 %  by construction"
        assert row["Level 2"] == "100.0 %  ✓ good"

    def test_what_codes_know_is_told_in_plain_words(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace, knowledge="true"))
        strip = next(d.value for d in page.dataframe if "Measure" in d.value).set_index("Measure")
        gain = strip.loc["Attributes told beyond the category (attribute gain)"]
        assert gain["Level 1"].endswith("by construction")
        assert gain["Level 2"] == "+5.00 pp [+3.00, +7.00] pp"
        assert any(name.startswith("Beyond the category: ") for name in strip.index)
        assert not any("leave-one-out" in name for name in strip.index), "accuracies of one attribute are in the export"
        assert strip.loc["Code changes with a typo (flip rate)", "Whole SID"] == "not measured"
        assert "Some are not measured: no encoder" in unescaped(page)

    def test_hits_are_counted_by_sid_or_by_item(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("overview", workspace, details="How well the model guesses"))
        assert "Counted by item" not in unescaped(page)
        (control,) = [group for group in page.button_group if group.label == "Hits counted by"]
        assert "Counted by item. At level 2" in unescaped(healthy(control.set_value("item").run()))

    def test_box_of_a_link_zooms_and_a_bad_one_is_told(self, open_page: Open, workspace: Path) -> None:
        assert "in view, of 120 on the map, all" in unescaped(
            healthy(open_page("codebook", workspace, box="-1.5,1.5,-9,9"))
        )
        assert "“1,2,x,4”" in unescaped(healthy(open_page("codebook", workspace, box="1,2,x,4")))

    def test_generations_are_told_in_words_and_units(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("codebook", workspace))
        assert "Items added since training (generations)" in [h.value for h in page.header]
        said = unescaped(page)
        assert "3 items of “arrivals <2>” were given SIDs last (generation 2); 1 SID among them is new" in said
        assert "% of them lie far from their SID, where 5 % are expected" in said
        assert "train again" in "".join(w.value for w in page.warning)
        frames = [d.value for d in page.dataframe]
        told = next(f for f in frames if "n_known" in f)
        assert told["generation"].tolist() == [0, 1, 2]
        assert told["source"].tolist() == ["the catalogue", "arrivals <1>", "arrivals <2>"]
        items = next(f for f in frames if "bucket_after" in f)
        assert len(items) == told["n_items"][1:].sum()
        assert HOSTILE in set(items["title"])
        assert not any(HOSTILE in m.value for m in page.markdown)

    def test_a_run_without_later_generations_has_no_such_section(
        self, open_page: Open, boosted_workspace: Path
    ) -> None:
        page = healthy(open_page("codebook", boosted_workspace, code="0"))
        assert "Items added since training (generations)" not in [h.value for h in page.header]
        assert "later generations" not in unescaped(page)

    def test_a_card_counts_items_of_later_generations(self, open_page: Open, workspace: Path) -> None:
        said = unescaped(healthy(open_page("codebook", workspace, code="3")))
        assert "3 more items were assigned here in later generations, not counted above." in said


class TestCoverage:
    def test_verdict_comes_with_its_reason(self, open_page: Open, workspace: Path) -> None:
        page = healthy(open_page("coverage", workspace, category="Garden > Tools"))
        assert "no level-1 code of its own" in unescaped(page)

    @pytest.mark.parametrize("section", ["Items", "Codes", "Queries that should reach it"])
    def test_the_way_from_a_category_to_its_queries(self, open_page: Open, workspace: Path, section: str) -> None:
        page = healthy(open_page("coverage", workspace, category="Home > Rugs", show=section))
        wanted = {"Items": "lost_at", "Codes": "n_mine", "Queries that should reach it": "n_relevant"}[section]
        assert any(wanted in d.value.columns for d in page.dataframe)

    def test_unknown_category(self, open_page: Open, workspace: Path) -> None:
        assert "“Nowhere”" in unescaped(healthy(open_page("coverage", workspace, category="Nowhere")))

    def test_tier_limits_change_the_tiers(self, open_page: Open, workspace: Path) -> None:
        page = open_page("coverage", workspace)

        def head(page: AppTest) -> int:
            tiers = next(d.value for d in page.dataframe if "n_categories" in d.value)
            return int(tiers.set_index("tier").loc["head", "n_categories"])

        assert head(page) == 1
        page = healthy(page.slider(key="limits").set_value((70, 90)).run())
        assert head(page) == 2
        assert "Verdicts and findings elsewhere use 50 and 80 %" in unescaped(page)


@pytest.mark.parametrize("view", VIEWS)
def test_grades_from_clicks_are_said_to_be(open_page: Open, tmp_path: Path, view: str) -> None:
    path = write_snapshot(tmp_path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE judgments SET source = 'implicit' WHERE query_id < 'q20'")
    page = healthy(open_page(view, tmp_path))
    assert "judgments were read from the clicks" in unescaped(page)
    assert "agreement with clicks, not relevance" in unescaped(page)


def test_grades_that_only_train_are_told_apart() -> None:
    assert clicked(0, 0, 90) == ""
    assert "for training alone" in clicked(10, 0, 90)
    assert clicked(1_000, 5, 2_000).startswith("1,000 of 2,000 judgments were read from the clicks")
