"""What the dense features of a problem read of its items."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.datasets.contract import Catalogue
from engine.problem import Problem
from engine.relevance.features import DenseFeatures


def item_category(catalogue: Catalogue) -> np.ndarray:
    """(N,) int64 number of each item's category, -1 where unknown."""
    names = catalogue.items["category"]
    return pd.factorize(names.where(names.notna(), None), use_na_sentinel=True)[0].astype(np.int64)


def dense_features(problem: Problem) -> DenseFeatures:
    """What the dense block of any pair is measured from."""
    vectors = problem.vectors
    return DenseFeatures(vectors.items, vectors.item_images, problem.first.lexical, item_category(problem.catalogue))
