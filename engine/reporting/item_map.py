"""The map of a run's items: UMAP of the space that was quantized, or of their titles; and how faithful it is around each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.config import Config
from engine.datasets.contract import Catalogue
from engine.progress import Progress
from engine.projection import faithful
from engine.projection import project as project_items
from engine.runs import Run, load_arrays, write_table


def project(run: Run, catalogue: Catalogue) -> None:
    """Tables projection, projection_info, projection_kept of a run that learnt SIDs."""

    def body(folder: Path, progress: Progress) -> None:
        for name, frame in map_tables(_latent(run), catalogue.items, run.config, progress).items():
            if len(frame):
                write_table(folder, name, frame)

    folder = run.stage("project", "Drawing the map (UMAP)", body)
    run.offer_tables(folder)


def map_tables(x: np.ndarray, items: pd.DataFrame, config: Config, progress: Progress) -> dict[str, pd.DataFrame]:
    """Tables projection, projection_info, projection_kept of vectors (N, d); landmarks are drawn by `items["category"]`."""
    drawn = project_items(x, _strata(items), config.projection, seed=config.seed, progress=progress)
    across, up = drawn.xy.T
    points = pd.DataFrame({"item_id": items["item_id"], "x": across, "y": up, "landmark": drawn.landmark})
    kept = _kept(x, drawn.xy, items, int(drawn.info["neighbours"]), config.seed)
    return {"projection": points, "projection_info": pd.DataFrame([drawn.info]), "projection_kept": kept}


def _kept(x: np.ndarray, xy: np.ndarray, items: pd.DataFrame, k: int, seed: int) -> pd.DataFrame:
    measured = faithful(x, xy, _strata(items), k, seed=seed)
    ids = items["item_id"].to_numpy()[measured.sample]
    return pd.DataFrame({"item_id": ids, "kept": measured.kept.astype(np.float64)})


def _strata(items: pd.DataFrame) -> np.ndarray:
    """(N,) category of each item as a number, -1 for none."""
    return pd.factorize(items["category"])[0].astype(np.int64)


def _latent(run: Run) -> np.ndarray:
    """(N, d) what was quantized."""
    return load_arrays(run.stage_folder("tokenize") / "stack0" / "codes.safetensors")["latent"]
