"""The ground every page stands on: options, text, exports, links' parameters."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filled_snapshot import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from streamlit import config

from app import __main__ as serve
from app import serving, text
from app.components import live
from app.export import csv, file_name


class TestServe:
    def test_every_option_exists_in_streamlit(self) -> None:
        known = config.get_config_options()
        for name in serve.options():
            assert name in known, f"{name} is no Streamlit option"

    def test_both_themes_are_complete(self) -> None:
        options = serve.options()
        for theme in ("light", "dark"):
            for part in ("backgroundColor", "secondaryBackgroundColor", "textColor", "sidebar.backgroundColor"):
                assert f"theme.{theme}.{part}" in options

    @pytest.mark.parametrize(("theme", "least"), [("theme.light", 4.5), ("theme.dark", 4.5)])
    def test_text_contrast(self, theme: str, least: float) -> None:
        """WCAG 2.1 AA: 4.5 : 1."""

        def luminance(colour: str) -> float:
            parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
            return 0.2126 * r + 0.7152 * g + 0.0722 * b

        options = serve.options()
        for ink, paper in (
            ("textColor", "backgroundColor"), ("greenTextColor", "backgroundColor"), ("redTextColor", "backgroundColor"),
            ("orangeTextColor", "backgroundColor"), ("sidebar.textColor", "sidebar.backgroundColor"),
        ):  # fmt: skip
            high, low = sorted((luminance(options[f"{theme}.{c}"]) for c in (ink, paper)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= least, f"{theme} {ink} on {paper}"

    def test_nested_tables_become_dotted_names(self) -> None:
        assert dict(serve.flatten({"theme": {"dark": {"sidebar": {"textColor": "#fff"}}}, "a": 1})) == {
            "theme.dark.sidebar.textColor": "#fff",
            "a": 1,
        }

    def test_a_taken_port_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            assert serve.main(["--port", str(port)]) == 1
        said = capsys.readouterr().err
        assert f"Port {port} is taken" in said
        assert f"--port {port + 1}" in said

    def test_a_start_clears_what_a_killed_publication_left(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        left, own = (tmp_path / "snapshots" / f"snap-1.duckdb.{pid}.tmp" for pid in (ended.pid, os.getpid()))
        left.parent.mkdir()
        left.touch()
        own.touch()
        monkeypatch.setattr(serving, "serve", lambda *arguments, **options: None)
        monkeypatch.setenv("SIDELIGHT_WORKSPACE", "")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert serve.main(["--workspace", str(tmp_path), "--port", str(port)]) == 0
        assert list(left.parent.iterdir()) == [own]


class TestText:
    @given(st.text())
    def test_escaped_text_has_no_live_markdown(self, raw: str) -> None:
        escaped = text.escape(raw)
        assert escaped.replace("\\\\", "").replace("\\", "").count("\n") == 0
        for place, letter in enumerate(escaped):
            if letter in "`*_[]<>$:~#|!^":
                assert escaped[place - 1] == "\\", f"{letter!r} is live in {escaped!r}"

    def test_escape_keeps_the_words(self) -> None:
        assert text.escape(HOSTILE).replace("\\", "").replace("\u2060", "") == HOSTILE

    @pytest.mark.parametrize("linked", ["http://x.com", "HTTPS://x.com/a?b", "www.x.com", "mail me@x.com"])
    def test_bare_addresses_are_no_links(self, linked: str) -> None:
        assert "\u2060" in text.escape(linked)

    def test_marks_that_turn_what_follows_are_gone(self) -> None:
        assert text.escape("a \u202eb\u2066c") == "a bc"

    @pytest.mark.parametrize(
        ("value", "form", "said"),
        [(0.8123, "number", "0.812"), (0.5, "percent", "50.0 %"), (0.0125, "points", "+1.25 pp"), (1234.0, "count", "1,234"),
         (None, "number", "unknown"), (np.nan, "percent", "unknown"), (123.456, "number", "123.5")],
    )  # fmt: skip
    def test_numbers(self, value: float | None, form: str, said: str) -> None:
        assert text.number(value, form) == said

    def test_interval_names_its_unit_once(self) -> None:
        assert text.interval(0.1, 0.2, "percent") == "[10.0, 20.0] %"
        assert text.interval(-0.01, 0.02, "points") == "[-1.00, +2.00] pp"
        assert text.interval(None, 0.2) == "unknown"

    def test_small_n_is_not_a_number(self) -> None:
        assert text.estimate(0.9, 29) == text.TOO_SMALL
        assert text.estimate(0.9, 30) == "0.900"

    @pytest.mark.parametrize(
        ("low", "high", "said"), [(0.1, 0.2, "better"), (-0.2, -0.1, "worse"), (-1, 1, "not separable")]
    )
    def test_evidence_follows_the_interval(self, low: float, high: float, said: str) -> None:
        assert text.evidence(low, high).startswith(said)


class TestExport:
    def test_csv_carries_where_it_comes_from_and_reads_back(self) -> None:
        data = pd.DataFrame({"item": ["a", "b"], "share": [0.25, 0.75]})
        raw = csv(
            data, "Mix", snapshot="snap-1", run="dsirm-1", filters={"code": "17-2"}, definition="Share.\nOf items"
        )
        head = [line for line in raw.decode().splitlines() if line.startswith("#")]
        assert head == [
            "# Sidelight: Mix", "# snapshot: snap-1", "# run: dsirm-1", "# filters: code = 17-2", "# rows: 2",
            "# definition: Share. Of items",
        ]  # fmt: skip
        pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(raw), comment="#"), data)

    def test_text_that_a_spreadsheet_would_run_is_guarded_and_said(self) -> None:
        """Whatever it splits cells at; lists of numbers and plain numbers stay as they are."""
        harmful = ["=1+1", "+x", "@y", "-1+cmd|' /C calc'!A0", "\n=1", "\t=1", "a;=1+1", "a\r@b", "\uff1d1"]
        harmless = ["plain", None, "-5", "+1.5", "-1.5;2", "a = b", "x-y", "a; - b"]
        data = pd.DataFrame({"title": harmful + harmless, "change": -1.0})
        raw = csv(data, "T", snapshot="s", run="r", filters={"q": "x,=HYPERLINK(1)", "box": "0.1,-0.35,+2"}).decode()
        assert "leading apostrophe" in raw
        assert "# filters: q = x,'=HYPERLINK(1); box = 0.1,-0.35,+2\n" in raw
        read = pd.read_csv(io.BytesIO(raw.encode()), comment="#", keep_default_na=False)
        assert read["title"].tolist() == [
            "'=1+1", "'+x", "'@y", "'-1+cmd|' /C calc'!A0", "\n'=1", "\t'=1", "a;'=1+1", "a\n'@b", "'\uff1d1",
            *(cell or "" for cell in harmless),
        ]  # fmt: skip
        assert (read["change"] == -1).all()
        assert "'" not in csv(data.iloc[len(harmful) :], "T", snapshot="s", run="r", filters={}).decode()

    def test_file_name_carries_filters_run_and_snapshot(self) -> None:
        name = file_name("Codes of level 2", snapshot="snap-1", run="dsirm-1", filters={"code": "17-2", "find": ""})
        assert name == "codes-of-level-2_code-17-2_dsirm-1_snap-1.csv"


@pytest.mark.parametrize("serving_still", [True, False])
def test_a_model_that_cannot_load_is_logged_unless_the_server_stops(
    serving_still: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An import that the end of the server cuts short left a traceback behind a Ctrl-C."""
    from engine.answering.live import LiveRun

    def cut_short(workspace: Path, run_id: str) -> LiveRun:
        raise RuntimeError("can't register atexit after shutdown")

    monkeypatch.setattr(LiveRun, "load", cut_short)
    monkeypatch.setattr(live.stopping, "is_set", lambda: not serving_still)
    (tmp_path / "runs" / "run-1").mkdir(parents=True)
    model = live.Model(tmp_path, "run-1")
    model.hurry()
    for thread in threading.enumerate():
        if thread.name == "warm run-1":
            thread.join()
    assert model.state == "failed"
    assert [record.message for record in caplog.records] == ["warming run-1"] * serving_still
