"""A signed number as a small bar for a table's cell: to the right and blue for more, to the left and orange for less."""

from __future__ import annotations

import math
from urllib.parse import quote

from app.charts import theme

WIDTH, HEIGHT = 100, 60
"""As the cell of a tall row: an image is drawn as high as its row, and what is wider than its column is cut."""


def bar(value: float | None, largest: float) -> str | None:
    """The bar as an SVG in a data address, `largest` filling half the cell; None where the value is unknown."""
    if value is None or not math.isfinite(value):
        return None
    middle = WIDTH / 2
    length = (middle - 1) * min(abs(value) / largest, 1.0) if largest > 0 else 0.0
    left = middle if value >= 0 else middle - length
    colour = theme.GAIN if value >= 0 else theme.LOSS
    return "data:image/svg+xml;utf8," + quote(
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{HEIGHT}' viewBox='0 0 {WIDTH} {HEIGHT}'>"
        f"<rect x='{left:.1f}' y='{HEIGHT / 2 - 8}' width='{length:.1f}' height='16' fill='{colour}'/>"
        f"<line x1='{middle}' x2='{middle}' y1='{HEIGHT / 2 - 16}' y2='{HEIGHT / 2 + 16}' stroke='{theme.NEUTRAL}'/></svg>"
    )
