"""The groups whose exposure is audited, as one label an item: seller, category, brand, price band, age, kinds of sellers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

UNKNOWN = "(unknown)"
DIMENSIONS = ("seller", "category", "brand", "price_band", "age", "seller_size", "seller_age")
LEAST_SELLERS = 8
"""Fewer sellers are not put into groups."""
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


_QUARTERS = {2: ("small", "large"), 3: ("small", "middle", "large"), 4: ("smallest", "small", "large", "largest")}
_AGED = {2: ("older", "newer"), 3: ("older", "middle", "newer"), 4: ("oldest", "older", "newer", "newest")}


def _quarters(value: pd.Series, names: dict[int, tuple[str, ...]], told: Callable[[pd.Series], str]) -> pd.Series:
    """One label a seller by quarters of `value`, equal values together; `told` says what range a group spans."""
    cuts = np.unique(np.quantile(value.to_numpy(dtype=np.float64), [0.25, 0.5, 0.75], method="lower"))
    group = np.searchsorted(cuts, value.to_numpy(dtype=np.float64), side="left")
    parts = np.unique(group)
    out = pd.Series(UNKNOWN, index=value.index, dtype=object)
    for part, name in zip(parts, names.get(len(parts), ()), strict=False):
        rows = group == part
        out[rows] = f"{name} sellers ({told(value[rows])})"
    return out


def seller_groups(items: pd.DataFrame) -> dict[str, np.ndarray]:
    """'seller_size' and 'seller_age' (N,): quarters of the sellers by how many items they have and by their first item.

    All items of the small sellers, or of the new ones, are one group. Empty where there are fewer than `LEAST_SELLERS`.
    """
    sellers = items.loc[items["seller"].notna()].groupby("seller")
    if len(sellers) < LEAST_SELLERS:
        return {}
    by_size = _quarters(sellers.size(), _QUARTERS, _sized)
    out = {"seller_size": by_size}
    first = pd.to_datetime(items["created_at"], errors="coerce", utc=True).groupby(items["seller"]).min().dropna()
    if len(first) >= LEAST_SELLERS:
        days = first.dt.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)
        day = pd.Series(days, index=first.index)
        out["seller_age"] = _quarters(
            day, _AGED, lambda d: "first seen " + _span_of(_day(d.min()), _day(d.max()), " to ")
        )
    return {name: items["seller"].map(label).fillna(UNKNOWN).to_numpy(dtype=object) for name, label in out.items()}


def _sized(n: pd.Series) -> str:
    return _span_of(f"{n.min():,}", f"{n.max():,}") + (" item" if n.max() == 1 else " items")


def _day(days: int) -> str:
    return str(np.datetime64(int(days), "D"))


def _span_of(low: str, high: str, to: str = "-") -> str:
    return low if low == high else f"{low}{to}{high}"


def item_groups(items: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each dimension the catalogue knows, the label (N,) of every item; '(unknown)' where an item has none."""
    out = {}
    sellers = seller_groups(items)
    for dimension in DIMENSIONS:
        if dimension == "price_band":
            label = price_bands(items["price"], items.get("currency"))
        elif dimension == "age":
            label = age_bands(items["created_at"])
        elif dimension in ("seller_size", "seller_age"):
            label = sellers.get(dimension, np.full(len(items), UNKNOWN, dtype=object))
        else:
            column = items[dimension]
            label = column.astype(object).where(column.notna(), UNKNOWN).to_numpy(dtype=object)
        if (label != UNKNOWN).any():
            out[dimension] = label
    return out


def bands_table(items: pd.DataFrame) -> pd.DataFrame:
    """The `item_bands` table: the price bands and ages that occur, with the lowest and highest value in each."""
    columns = ["kind", "name", "currency", "low", "high", "first", "last", "n_items"]
    currency = items["currency"].fillna("").astype(str) if "currency" in items else pd.Series("", index=items.index)
    when = pd.to_datetime(items["created_at"], errors="coerce", utc=True).dt.tz_localize(None)
    parts = []
    for kind, label, of, value, ends in (
        (
            "price",
            price_bands(items["price"], items.get("currency")),
            currency,
            items["price"].astype(float),
            ("low", "high"),
        ),
        ("age", age_bands(items["created_at"]), "", when, ("first", "last")),
    ):
        rows = pd.DataFrame({"name": label, "currency": of, "value": value})
        made = (
            rows[rows["name"] != UNKNOWN]
            .groupby(["currency", "name"])["value"]
            .agg(["min", "max", "size"])
            .reset_index()
        )
        made = made.sort_values(["currency", "min"], ascending=[True, kind == "price"])
        parts.append(made.set_axis(["currency", "name", *ends, "n_items"], axis=1).assign(kind=kind))
    table = pd.concat(parts, ignore_index=True).reindex(columns=columns)
    for name in ("first", "last"):
        table[name] = table[name].astype("datetime64[us]")
    return table.astype(
        {"kind": object, "name": object, "currency": object, "low": float, "high": float, "n_items": np.int64}
    )
