"""Files to download: the CSV button under figures and tables, and every other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pandas as pd
import streamlit as st

from app.export import Filters, csv, file_name
from app.fetch import current
from app.serving import COOKIE, EXPORTS


def download(
    title: str,
    data: pd.DataFrame | Callable[[], pd.DataFrame],
    *,
    key: str,
    filters: Filters | None = None,
    definition: str = "",
) -> None:
    """The small CSV button under a figure or table; the file is made when it is asked for."""
    where = current()
    chosen = filters or {}
    rows: Callable[[], pd.DataFrame] = data if callable(data) else lambda: data
    offer(
        "CSV",
        lambda: csv(rows(), title, snapshot=where.snapshot_id, run=where.run_id, filters=chosen, definition=definition),
        name=file_name(title, snapshot=where.snapshot_id, run=where.run_id, filters=chosen),
        mime="text/csv",
        key=f"csv-{key}",
        help=f"All rows behind “{title}”, with snapshot, run and filters",
        type="tertiary",
    )


def offer(
    label: str,
    made: Callable[[], bytes],
    *,
    name: str,
    mime: str,
    key: str,
    help: str | None = None,
    type: Literal["secondary", "tertiary"] = "secondary",
) -> None:
    """A button whose file is made when it is pressed, for this browser alone."""
    owner = st.context.cookies.get(COOKIE)

    def kept() -> bytes:
        data = made()
        if owner:
            EXPORTS.keep(owner, data, name, mime)
        return data

    st.download_button(
        label, kept, file_name=name, mime=mime, key=key, help=help, icon=":material/download:", type=type, on_click="ignore"
    )  # fmt: skip
