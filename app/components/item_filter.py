"""The choice of which items are counted: seller, brand, price band, age, any attribute; each a link."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.states import bad_parameter
from app.fetch import fetch
from app.queries import item_filter as queries
from app.queries.item_filter import Filter

KEYS = ("of_seller", "of_brand", "of_price", "of_age", "of_attribute", "of_value")
_NAMES = dict(zip(KEYS, ("Seller", "Brand", "Price", "Age", "Attribute", "Its value"), strict=True))


def item_filter() -> Filter:
    """A menu that narrows the items; returns what was chosen."""
    bands = fetch(queries.bands)
    by_kind = {kind: bands[bands["kind"] == kind].set_index("name") for kind in ("price", "age")}
    options = {
        "of_seller": fetch(queries.names, "seller"), "of_brand": fetch(queries.names, "brand"),
        "of_price": [str(n) for n in by_kind["price"].index], "of_age": [str(n) for n in by_kind["age"].index],
        "of_attribute": [str(n) for n in fetch(queries.attribute_keys)["name"]],
    }  # fmt: skip
    for key, known in options.items():
        _check(key, known)
    attribute = st.session_state.get("of_attribute") or st.query_params.get("of_attribute", "")
    options["of_value"] = fetch(queries.attribute_values, attribute) if attribute in options["of_attribute"] else []
    _check("of_value", options["of_value"])
    with st.popover(f"Filter items{_how_many()}", icon=":material/filter_alt:"):
        chosen = {
            key: st.selectbox(_NAMES[key], known, index=None, placeholder="any", key=key, bind="query-params") or ""
            for key, known in options.items()
            if known
        }
        st.button("No filter", on_click=_clear, type="tertiary", icon=":material/filter_alt_off:")
    price, age = (_ends(by_kind[kind], chosen.get(f"of_{kind}", "")) for kind in ("price", "age"))
    return Filter(
        chosen.get("of_seller", ""), chosen.get("of_brand", ""), (float(price[0]), float(price[1]), price[2]) if price else (),
        (age[0], age[1]) if age else (), chosen.get("of_attribute", ""), chosen.get("of_value", ""),
    )  # fmt: skip


def _ends(bands: pd.DataFrame, name: str) -> tuple[str, str, str] | tuple[()]:
    """Lowest, highest and currency of a band."""
    if not name:
        return ()
    row = bands.loc[name]
    return str(row["low"]), str(row["high"]), str(row["currency"])


def described(which: Filter) -> str:
    """What is counted in words: 'seller Alpha, price 10-25 EUR, color pink'; '' where nothing is left out."""
    said = [f"{_NAMES[key].lower()} {st.session_state[key]}" for key in KEYS[:4] if st.session_state.get(key)]
    if which.attribute and which.value:
        said.append(f"{which.attribute} {which.value}")
    return ", ".join(said)


def chosen() -> dict[str, str]:
    """The parameters that name the filter, for links and exports."""
    return {key: str(st.session_state[key]) for key in KEYS if st.session_state.get(key)}


def _how_many() -> str:
    n = sum(bool(st.session_state.get(key) or st.query_params.get(key)) for key in (*KEYS[:4], "of_value"))
    return f" ({n})" if n else ""


def _check(key: str, options: list[str]) -> None:
    """Say so where a link asks for what is not there, and ask for nothing."""
    asked = st.query_params.get(key)
    if asked and asked not in options:
        bad_parameter(_NAMES[key].lower(), asked, "Nothing is left out for it.", near=options)
        st.session_state[key] = None


def _clear() -> None:
    for key in KEYS:
        st.session_state[key] = None
