"""How hard the bundled marketplace is for rankers without SIDs: AUC (grade >= 2) on its test queries.

    PYTHONPATH=. python tests/bench/marketplace_difficulty.py FOLDER    (generates 6,000 items there if it is empty)

Features: dm (MiniLM cosine), image cosine, ct (category classifier on logged clicks; out of fold for queries it could
have seen), BM25, coverage of query terms and numbers. Learners: logistic regression and gradient boosting, trained on
the training queries' judgments. No SID takes part.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.datasets.marketplace import content_hash, write_marketplace
from engine.encoders.cache import encode_cached
from engine.problem.index import beside
from engine.relevance.features import DENSE
from engine.relevance.lexical import LexicalIndex

FOLDS = 3
WORDS = tuple(range(4, len(DENSE)))
SETS = {
    "weak (dm)": (0,),
    "dm + qs": (0, *WORDS),
    "dm + ct + qs": (0, 3, *WORDS),
    "strong (all)": tuple(range(len(DENSE))),
}


def category_agreement(query_x: np.ndarray, log: pd.DataFrame, item_code: np.ndarray) -> np.ndarray:
    """(Q, C) log probability of each category; a query's row never comes from a classifier that saw its clicks."""
    clicked = log[log["clicks"] > 0].assign(code=lambda table: item_code[table["i"]])
    share = clicked.groupby(["q", "code"], as_index=False)["clicks"].sum()
    share["weight"] = share["clicks"] / share.groupby("q")["clicks"].transform("sum")
    table = np.zeros((len(query_x), int(item_code.max()) + 1))
    fold = np.arange(len(query_x)) % FOLDS
    for k in range(FOLDS):
        train = share[share["q"] % FOLDS != k]
        model = LogisticRegression(C=20, max_iter=500).fit(
            query_x[train["q"]], train["code"], sample_weight=train["weight"]
        )
        table[np.ix_(fold == k, model.classes_)] = model.predict_proba(query_x[fold == k])
    return np.log(table + 1e-4)


def cosine(query: pd.Series, item: pd.Series, q: np.ndarray, i: np.ndarray) -> np.ndarray:
    """(M, 2) cosine (0 where either side lacks an embedding) and the flag that says so."""
    width = len(item.dropna().iloc[0])

    def dense(column: pd.Series) -> np.ndarray:
        return np.stack([np.zeros(width) if x is None else x for x in column.where(column.notna(), None)])

    missing = query.isna().to_numpy()[q] | item.isna().to_numpy()[i]
    return np.c_[(dense(query)[q] * dense(item)[i]).sum(axis=1), missing]


def main(folder: Path) -> None:
    """Prints one line a baseline: all test queries, those not in the log, those in it, then each kind."""
    if not (folder / "dataset.toml").exists():
        write_marketplace(folder)
    print("content", content_hash(folder))
    items, queries, log, judged = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("items", "queries", "interactions", "judgments")
    )
    q_of, i_of = pd.Series(queries.index, queries["query_id"]), pd.Series(items.index, items["item_id"])
    log = log.assign(q=log["query_id"].map(q_of), i=log["item_id"].map(i_of))
    q, i = judged["query_id"].map(q_of).to_numpy(), judged["item_id"].map(i_of).to_numpy()
    relevant = (judged["grade"] >= 2).to_numpy()
    titles, texts = items["title"].tolist(), queries["text"].tolist()
    encode = {"model": "minilm", "max_tokens": 32, "batch": 64, "cache": folder.parent / ".embeddings"}
    item_x, query_x = encode_cached(titles, **encode), encode_cached(texts, **encode)
    code = np.unique(items["category"], return_inverse=True)[1]
    dm = (query_x[q] * item_x[i]).sum(axis=1)
    image = cosine(queries["image_space_embedding"], items["image_embedding"], q, i)
    ct = category_agreement(query_x, log, code)[q, code[i]]
    x = np.c_[dm, image, ct, LexicalIndex(titles, "en", beside(items)).features(texts, q, i)]

    train, test = (judged["split"] == "train").to_numpy(), (judged["split"] == "test").to_numpy()
    seen = queries["query_id"].isin(log["query_id"]).to_numpy()[q]
    kind = queries["kind"].to_numpy()[q]
    parts = {"all": test, "new": test & ~seen, "seen": test & seen} | {k: test & (kind == k) for k in np.unique(kind)}

    def report(name: str, score: np.ndarray) -> None:
        print(f"{name:24s}", "  ".join(f"{k} {roc_auc_score(relevant[m], score[m]):.3f}" for k, m in parts.items()))

    for column, name in ((0, "dm"), (1, "image cosine"), (3, "ct"), (4, "BM25")):
        report(f"raw {name}", x[:, column])
    for name, columns in SETS.items():
        own = x[:, columns]
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(own[train], relevant[train])
        report(f"{name}, logistic", linear.decision_function(own))
        boosted = HistGradientBoostingClassifier(
            max_iter=150, learning_rate=0.06, max_leaf_nodes=15, min_samples_leaf=40, random_state=0
        ).fit(own[train], relevant[train])
        report(f"{name}, boosted", boosted.predict_proba(own)[:, 1])
    print("oracle", tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))["oracle_auc"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
