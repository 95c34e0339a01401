"""The map of a run's items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.datasets.contract import Catalogue
from engine.progress import Progress
from engine.projection import project as project_items
from engine.runs import Run, load_arrays, write_table


def project(run: Run, catalogue: Catalogue) -> None:
    """Tables projection, projection_info: UMAP of the items in the space that was quantized."""

    def body(folder: Path, progress: Progress) -> None:
        latent = load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")["latent"]
        strata = pd.factorize(catalogue.items["category"])[0].astype(np.int64)
        drawn = project_items(latent, strata, run.config.projection, seed=run.config.seed, progress=progress)
        x, y = drawn.xy.T
        points = {"item_id": catalogue.items["item_id"], "x": x, "y": y, "landmark": drawn.landmark}
        write_table(folder, "projection", pd.DataFrame(points))
        write_table(folder, "projection_info", pd.DataFrame([drawn.info]))

    folder = run.stage("project", "Drawing the map (UMAP)", body)
    run.offer_tables(folder)
