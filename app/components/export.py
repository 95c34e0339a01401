"""The CSV button under figures and tables."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from app.export import Filters, csv, file_name
from app.fetch import current


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
    st.download_button(
        "CSV",
        data=lambda: csv(
            rows(), title, snapshot=where.snapshot_id, run=where.run_id, filters=chosen, definition=definition
        ),
        file_name=file_name(title, snapshot=where.snapshot_id, run=where.run_id, filters=chosen),
        mime="text/csv",
        key=f"csv-{key}",
        help=f"All rows behind “{title}”, with snapshot, run and filters",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )
