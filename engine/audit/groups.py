"""The groups whose exposure is audited: seller, category, brand, price band, age, as one label an item."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

UNKNOWN = "(unknown)"
DIMENSIONS = ("seller", "category", "brand", "price_band", "age")
_NICE = np.array([1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10])
_AGES = np.array([7, 14, 30, 60, 90, 180, 365, 730, 1_095, 1_825, 3_650])
_AGE_NAMES = dict(zip(_AGES.tolist(), ("7 days", "14 days", "30 days", "60 days", "90 days", "180 days"), strict=False))


def _nice(value: float) -> float:
    """The nearest readable number: 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(_NICE[np.abs(_NICE - value / power).argmin()] * power)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2f}".rstrip("0").rstrip(".")


def price_bands(price: pd.Series, currency: pd.Series | None = None, *, bands: int = 5) -> np.ndarray:
    """(N,) label of each item's price band: quantiles of its own currency's prices, at readable edges.

    '10-25 EUR' holds 10 <= price < 25. Items without a price are '(unknown)'.
    """
    value = price.to_numpy(dtype=np.float64)
    unit = (
        np.full(len(value), "", dtype=object)
        if currency is None
        else currency.fillna("").astype(str).to_numpy(dtype=object)
    )
    out = np.full(len(value), UNKNOWN, dtype=object)
    known = np.isfinite(value) & (value >= 0)
    for name in np.unique(unit[known].astype(str)):
        rows = known & (unit == name)
        positive = value[rows & (value > 0)]
        if not positive.size:
            cuts = np.empty(0)
        else:
            cuts = np.quantile(positive, np.arange(1, bands) / bands)
            cuts = np.unique([_nice(cut) for cut in cuts])
        suffix = f" {name}" if name else ""
        if not cuts.size:
            out[rows] = f"any price{suffix}"
            continue
        text = [_number(cut) for cut in cuts]
        middle = [f"{low}-{high}{suffix}" for low, high in pairwise(text)]
        labels = np.array([f"under {text[0]}{suffix}", *middle, f"{text[-1]}{suffix} and over"], dtype=object)
        out[rows] = labels[np.searchsorted(cuts, value[rows], side="right")]
    return out


def _age_name(days: int) -> str:
    return _AGE_NAMES.get(days) or f"{days // 365} year{'s' if days >= 730 else ''}"


def _span(low: str, high: str) -> str:
    """'30-90 days', '1-2 years', '90 days - 1 year'."""
    (first, unit), (second, other) = low.split(), high.split()
    return f"{first}-{second} {other}" if unit.rstrip("s") == other.rstrip("s") else f"{low} - {high}"


def age_bands(created_at: pd.Series, *, bands: int = 4) -> np.ndarray:
    """(N,) label of each item's age on the day of the newest item: quantiles at readable edges, '30-90 days'.

    A band holds its lower edge and not its upper one. Items without a date are '(unknown)'.
    """
    when = pd.to_datetime(created_at, errors="coerce", utc=True)
    out = np.full(len(when), UNKNOWN, dtype=object)
    known = when.notna().to_numpy()
    if not known.any():
        return out
    days = ((when.max() - when).dt.total_seconds() / 86_400).to_numpy(dtype=np.float64)
    wanted = np.quantile(days[known], np.arange(1, bands) / bands)
    cuts = np.unique([_AGES[np.abs(np.log(_AGES) - np.log(max(day, 1.0))).argmin()] for day in wanted])
    names = [_age_name(int(cut)) for cut in cuts]
    middle = [_span(low, high) for low, high in pairwise(names)]
    labels = np.array([f"under {names[0]}", *middle, f"{names[-1]} and over"], dtype=object)
    out[known] = labels[np.searchsorted(cuts, days[known], side="right")]
    return out


def item_groups(items: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each dimension the catalogue knows, the label (N,) of every item; '(unknown)' where an item has none."""
    out = {}
    for dimension in DIMENSIONS:
        if dimension == "price_band":
            label = price_bands(items["price"], items.get("currency"))
        elif dimension == "age":
            label = age_bands(items["created_at"])
        else:
            column = items[dimension]
            label = column.astype(object).where(column.notna(), UNKNOWN).to_numpy(dtype=object)
        if (label != UNKNOWN).any():
            out[dimension] = label
    return out
