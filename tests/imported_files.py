"""A small catalogue with SIDs, beams and scores as another system would hand them over; any of them may be left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pandas import DataFrame

CATEGORIES = ("Home > Kettles", "Home > Lamps", "Garden > Chairs", "Garden > Hoses")
WORDS = (("kettle", "steel", "red"), ("lamp", "desk", "warm"), ("chair", "folding", "teak"), ("hose", "long", "green"))
N_ITEMS, N_QUERIES = 80, 40


def write_files(
    folder: Path,
    *,
    sids: bool = True,
    beams: bool = True,
    log_prob: bool = True,
    scores: bool = True,
    without: bool = True,
    judgments: bool = True,
) -> Path:
    """80 items of four categories, 40 judged test queries (half of them of one category each), all scored pairs judged or not."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(7)
    kind = np.arange(N_ITEMS) % 4
    codes = np.column_stack([kind, rng.integers(0, 3, N_ITEMS), rng.integers(0, 4, N_ITEMS)])
    items = [f"i{n:02d}" for n in range(N_ITEMS)]
    titles = [" ".join([*rng.permutation(WORDS[k]), f"model {n % 9}"]) for n, k in enumerate(kind)]
    DataFrame(
        {
            "item_id": items, "title": titles, "category": [CATEGORIES[k] for k in kind],
            "seller": [f"seller {n % 5}" for n in range(N_ITEMS)], "brand": [f"brand {n % 7}" for n in range(N_ITEMS)],
            "price": 5.0 + np.arange(N_ITEMS) % 13, "currency": "EUR",
        }
    ).to_csv(folder / "items.csv", index=False)  # fmt: skip
    queries = [f"{WORDS[n % 4][0]} {n}" for n in range(N_QUERIES)]
    pairs = [(q, i) for q in range(N_QUERIES) for i in rng.permutation(N_ITEMS)[:20]]
    relevant = np.array([kind[i] == q % 4 for q, i in pairs])
    table = DataFrame({"query": [queries[q] for q, _ in pairs], "item_id": [items[i] for _, i in pairs]})
    if judgments:
        graded = table.assign(grade=np.where(relevant, 3, 0), split="test")
        graded[np.arange(len(graded)) % 20 < 12].to_csv(folder / "judgments.csv", index=False)
    if sids:
        DataFrame({"item_id": items, **{f"code_{level + 1}": codes[:, level] for level in range(3)}}).to_csv(
            folder / "sids.csv", index=False
        )
    if beams:
        rows = []
        for q, text in enumerate(queries):
            held = np.unique(codes[kind == (q % 4 if q % 5 else (q + 1) % 4)], axis=0)
            for rank, row in enumerate(rng.permutation(held)[:4], start=1):
                rows.append((text, rank, "-".join(map(str, row)), -0.5 * rank))
        made = DataFrame(rows, columns=["query", "rank", "sid", "log_prob"])
        (made if log_prob else made.drop(columns="log_prob")).to_csv(folder / "beams.csv", index=False)
    if scores:
        table["score"] = relevant + rng.normal(size=len(table))
        if without:
            table["score_without_sid"] = relevant + 3 * rng.normal(size=len(table))
        table.to_csv(folder / "scores.csv", index=False)
    return folder
