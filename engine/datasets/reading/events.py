"""Event logs: one row an event, with its kind in words. Kinds become counts; what is no search event counts as nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.datasets.reading.names import folded

_WORDS = {
    "impression": ("impression", "impressions", "imp", "shown", "show", "display", "displayed", "exposure", "exposed", "served",
                   "onsearchresults", "searchresultimpression", "viewitemlist", "productimpression", "itemimpression", "listview",
                   "viewsearchresults", "productlistviewed", "productsviewed", "render", "rendered"),
    "view": ("view", "viewed", "pageview", "detailview", "productview", "productviewed", "viewitem", "pdpview", "visit", "dwell",
             "itemview", "productdetail", "detail", "itempage", "viewproduct"),
    "click": ("click", "clicks", "clicked", "select", "selectitem", "selectcontent", "productclick", "productclicked", "itemclick",
              "itemclicked", "resultclick", "searchclick", "clickthrough", "open", "tap"),
    "cart": ("cart", "addtocart", "addcart", "carts", "basket", "addtobasket", "atc", "productadded", "cartadd", "addtobag",
             "itemaddtocart", "addtowishlist", "wishlist", "favorite", "fav", "addtofavorites"),
    "purchase": ("purchase", "purchases", "purchased", "buy", "bought", "order", "orders", "ordered", "checkout", "transaction",
                 "conversion", "convert", "ordercompleted", "itempurchase", "sale", "pay", "paid", "orderplaced"),
    "ignore": ("search", "query", "searched", "onsearch", "filter", "sort", "scroll", "login", "logout", "pagination", "session",
               "sessionstart", "removefromcart", "refund", "hover", "unload", "suggest", "autocomplete", "null", "none"),
}  # fmt: skip
"""Spellings of kinds of events, folded (`names.folded`), across shops and analytics programs."""
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words}


def kinds_of(values: Iterable[str], stated: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """(value -> kind, values of no known kind)."""
    own = {folded(value): kind for value, kind in stated.items()}
    found, unknown = {}, []
    for value in values:
        name = folded(value)
        kind = own.get(name) or _KINDS.get(name) or _KINDS.get(name.removeprefix("product").removeprefix("item"))
        if kind is None:
            unknown.append(value)
        else:
            found[value] = kind
    if "impression" not in found.values() and "click" in found.values() and "view" in found.values() and not stated:
        # A log of views and clicks without impressions: its views are what was shown.
        plain = {v for v, kind in found.items() if kind == "view" and folded(v) in ("view", "views", "viewed")}
        found |= dict.fromkeys(plain, "impression")
    return found, unknown


def counts_of(kinds: Iterable[str]) -> dict[str, str]:
    """Kind -> the count of the contract that its events add to. One visit is one click: where clicks are logged, the product
    page and the cart that follow one are not counted again."""
    there = set(kinds)
    counts = {"impression": "impressions", "click": "clicks", "purchase": "purchases"}
    if "click" not in there:
        counts["view" if "view" in there else "cart"] = "clicks"
    return {kind: counted for kind, counted in counts.items() if kind in there}
