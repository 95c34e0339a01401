"""Colours and layout shared by every chart; text and grid colours follow the page's light or dark theme.

Signs and words carry the meaning; colour repeats it.
"""

from __future__ import annotations

import plotly.graph_objects as go

from app.text import one_line

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8A8F98")
"""Qualitative, the last one (grey) for 'other'."""
OTHER = OKABE_ITO[-1]
ACCENT = "#1B8A99"
"""The one highlighted thing of a chart; readable on both backgrounds."""
NEUTRAL = "#8A8F98"
"""Baselines, reference lines, what is not meant."""
GAIN, LOSS = "#0072B2", "#D97B00"
"""Signed quantities: blue is more, orange is less."""
WITH_SID, WITHOUT_SID = ACCENT, NEUTRAL
SEQUENTIAL = "Viridis"
PURITY = "Viridis_r"
"""Pure is dark and calm, mixed is bright: what needs a look stands out."""
DIVERGING = [[0.0, "#C26000"], [0.25, "#F0AC5B"], [0.5, "#C9CCCF"], [0.75, "#7FB3D9"], [1.0, "#0072B2"]]
"""Orange (less) - grey (zero) - blue (more): set cmid=0."""


def categorical(names: list[str]) -> dict[str, str]:
    """A colour per name, by order: seven colours, grey for every later one and for 'other'."""
    return {name: OTHER if name == "other" or i >= len(OKABE_ITO) - 1 else OKABE_ITO[i] for i, name in enumerate(names)}


def style(
    figure: go.Figure,
    *,
    height: int = 320,
    x: str | None = None,
    y: str | None = None,
    legend: bool = False,
    margin_left: int | None = None,
) -> go.Figure:
    """Set height (px), axis titles with units, legend and margins. Returns the same figure."""
    figure.update_layout(
        height=height,
        margin={"l": margin_left if margin_left is not None else 8, "r": 12, "t": 12 if not legend else 36, "b": 8},
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"size": 13}},
        bargap=0.25,
        uirevision="kept",
    )
    figure.update_xaxes(title_text=x, automargin=True, zeroline=False)
    figure.update_yaxes(title_text=y, automargin=True, zeroline=False)
    return figure


def short(text: str | None, width: int = 40) -> str:
    """The text cut to `width` characters with an ellipsis, on one line, safe inside a Plotly label.

    Plotly reads a few HTML tags in labels, so '<' and '&' are written as entities.
    """
    flat = one_line(text or "")
    cut = flat if len(flat) <= width else flat[: width - 1].rstrip() + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;")
