"""The map of a run's items: UMAP of the space that was quantized, or of their titles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.progress import Progress
from engine.projection import project as project_items
from engine.runs import Run, load_arrays, write_table


def project(run: Run, catalogue: Catalogue) -> None:
    """Tables projection, projection_info of a run that learnt SIDs."""

    def body(folder: Path, progress: Progress) -> None:
        latent = load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")["latent"]
        for name, frame in map_tables(latent, catalogue.items, run.config, progress).items():
            write_table(folder, name, frame)

    folder = run.stage("project", "Drawing the map (UMAP)", body)
    run.offer_tables(folder)


def map_tables(x: np.ndarray, items: pd.DataFrame, config: Config, progress: Progress) -> dict[str, pd.DataFrame]:
    """Tables projection, projection_info of vectors (N, d); landmarks are drawn by `items["category"]`."""
    strata = pd.factorize(items["category"])[0].astype(np.int64)
    drawn = project_items(x, strata, config.projection, seed=config.seed, progress=progress)
    across, up = drawn.xy.T
    points = pd.DataFrame({"item_id": items["item_id"], "x": across, "y": up, "landmark": drawn.landmark})
    return {"projection": points, "projection_info": pd.DataFrame([drawn.info])}
