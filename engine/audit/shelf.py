"""The catalogue's items with the SIDs that they hold: what every table of the codebook is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from engine.audit.prefixes import Level, levels


def _no_owners() -> pd.DataFrame:
    return pd.DataFrame({"category": [], "code_1": [], "code_name": []})


@dataclass(frozen=True)
class Shelf:
    """Items (N,), their SIDs, and what is known of how these were made; what is not known is None."""

    items: pd.DataFrame  # item_id, title, category, seller, brand, price ... as far as a table reads them.
    codes: np.ndarray  # (N, L) codes from 0; a first code of -1 means no SID.
    sizes: tuple[int, ...]  # Codes per level.
    forced: np.ndarray | None = None  # (N,) bool: level 1 came from the item's category.
    latent: np.ndarray | None = None  # (N, d) vectors that were quantized; without them there are no distances.
    residual_norms: np.ndarray | None = None  # (N, L + 1) norms before level 1 and after each level.
    owners: pd.DataFrame = field(default_factory=_no_owners)
    """Table `category_codes`; empty where level 1 belongs to no category."""
    separator: str = " > "  # Between the parts of a category path.

    @cached_property
    def tree(self) -> list[Level]:
        """One `Level` a code."""
        return levels(self.codes)

    @property
    def by_category(self) -> bool:
        """Whether level 1 is given by the category: what follows from that is by construction."""
        return self.forced is not None and bool(np.any(self.forced))
