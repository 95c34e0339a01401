"""Generations of a run: 0 is what it was trained on, each later one holds items that `assign` gave SIDs afterwards.

    WORKSPACE/runs/<run>/generations/<n>/
        generations.parquet    one row of the snapshot's table `generations`: counts, and where the items came from
        assigned.parquet       rows of table `assigned`; not in generation 0

Written aside and renamed, under the run's lock; never changed after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.audit.newcomers import Distance, Load
from engine.errors import RunError
from engine.leftovers import replacing
from engine.runs import Run, load_arrays, write_table


class Later(NamedTuple):
    """The M items of all later generations of a run."""

    item_ids: np.ndarray  # (M,) object.
    codes: np.ndarray  # (M, L) int64.
    generation: np.ndarray  # (M,) int64, 1 at least.


def folders(run: Run) -> tuple[Path, ...]:
    """The folders of a run's generations, 0 first; () for a run that trained no SIDs."""
    if run.config.method in ("none", "imported"):
        return ()
    if not (_home(run) / "0").is_dir():
        with run.lock():
            write_first(run)
    return tuple(_home(run) / str(number) for number in range(_count(run)))


def later(run: Run, levels: int) -> Later:
    """What generations 1, 2, ... of a run with SIDs of `levels` codes hold."""
    held = [
        _read(_home(run) / str(number) / "assigned.parquet", ["item_id", "codes", "generation"])
        for number in range(1, _count(run))
    ]
    if not held:
        return Later(np.zeros(0, dtype=object), np.zeros((0, levels), dtype=np.int64), np.zeros(0, dtype=np.int64))
    rows = pd.concat(held, ignore_index=True)
    codes = np.stack(list(rows["codes"])).astype(np.int64)
    return Later(rows["item_id"].to_numpy(dtype=object), codes, rows["generation"].to_numpy(dtype=np.int64))


def rows(run: Run) -> list[dict[str, Any]]:
    """The rows of table `generations` of a run, less `run_id`."""
    found = [_read(folder / "generations.parquet").iloc[0].to_dict() for folder in folders(run)]
    return [{str(name): value for name, value in row.items()} for row in found]


def write_first(run: Run) -> None:
    """Write generation 0 of a finished run where it is not there yet; the caller holds the run's lock."""
    folder = run.stage_folder("tokenize")
    if (_home(run) / "0").is_dir():
        return
    stack = load_arrays(folder / "stack0" / "codes.safetensors")
    distance = stack["residual_norms"][:, -1].astype(np.float64)
    _, held = np.unique(stack["codes"], axis=0, return_counts=True)
    given = run.manifest()["given_text"]
    forced = len(pd.read_parquet(folder / "category_codes.parquet")) > 0
    load = Load.of(held)
    write(
        run,
        {
            "generation": 0,
            "created_at": pd.Timestamp(run.manifest()["created_at"]),
            "source": None,
            "content": run.fingerprint,
            "encoder": None if given else run.config.encoder.model,
            "n_items": len(distance),
            "n_known": 0,
            "n_new_sids": len(held),
            "n_unknown_category": int((~load_arrays(folder / "forced.safetensors")["forced"]).sum()) if forced else None,
            **Distance.of(distance, distance)._asdict(),
            **{f"{name}_before": None for name in Load._fields},
            **{f"{name}_after": value for name, value in load._asdict().items()},
        },
    )  # fmt: skip


def write(run: Run, row: dict[str, Any], assigned: pd.DataFrame | None = None) -> None:
    """Write the generation of the number in `row`, all of it or none; the caller holds the run's lock."""
    _home(run).mkdir(exist_ok=True)
    with replacing(_home(run) / str(row["generation"])) as folder:
        folder.mkdir()
        if assigned is not None:
            write_table(folder, "assigned", assigned)
        write_table(folder, "generations", pd.DataFrame([row]))


def _read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{path} is damaged ({error}); delete {path.parent} and those after it, and assign their items again."
        ) from None


def _home(run: Run) -> Path:
    return run.folder / "generations"


def _count(run: Run) -> int:
    """Generations, 0 included; what is being written has another name."""
    return sum(path.name.isdigit() for path in _home(run).iterdir()) if _home(run).is_dir() else 0
