"""The cells of a sweep: which runs it consists of, and what each has left in its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from restrl.cli import FAILURE
from restrl.errors import UserError
from restrl.evaluate.outcomes import OUTCOMES, ProblemOutcome, read_outcomes

SEED = "seed"


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    overrides: Mapping[str, str]  # key -> value, as on the command line
    folder: Path | None = None  # None: not started
    results: Mapping[str, Any] | None = None  # results.json; None: not finished
    outcomes: Sequence[ProblemOutcome] = ()
    finished: float = 0.0  # time of results.json, in seconds since the epoch

    @property
    def state(self) -> str:
        """finished, not started, failed and why, or unfinished: running, or killed without a word."""
        if self.results is not None:
            return "finished"
        if self.folder is None:
            return "not started"
        if (failure := self.folder / FAILURE).is_file():
            return f"failed: {failure.read_text(encoding='utf-8').strip()}"
        files = _logs(self.folder)
        last = max(path.stat().st_mtime for path in [self.folder, *files])
        said = next((line for path in files if (line := _last_line(path))), "")
        ago = f"running or killed, last change {(time.time() - last) / 60:.0f} minutes ago"
        return f"{ago}: {said}" if said else ago


@dataclass(frozen=True)
class Sweep:
    """The cells of one or several multiruns of one question."""

    cells: tuple[Cell, ...]
    swept: tuple[str, ...]  # keys of which there are several values, without the seed

    def group_of(self, cell: Cell) -> tuple[str, ...]:
        """The values of the swept keys: runs of a group differ in their seed alone."""
        return tuple(cell.overrides.get(key, "-") for key in self.swept)


def planned(params: Mapping[str, Any], task: Sequence[str]) -> list[dict[str, str]]:
    """The overrides of each run of Hydra's own sweeper; ``task``: those of the command line."""
    texts = [*(f"{key}={value}" for key, value in params.items()), *task]
    (batch,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(texts), None)
    return [as_mapping(overrides) for overrides in batch]


def as_mapping(overrides: Sequence[str]) -> dict[str, str]:
    """``["a=1", "~b"]`` as ``{"a": "1", "~b": ""}``."""
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+"): value for key, _, value in pairs}


def read_sweep(folders: Sequence[Path]) -> Sweep:
    """The cells of all folders; of cells with the same overrides the one that finished last.

    Raises UserError for a folder that no multirun wrote.
    """
    cells: dict[frozenset[tuple[str, str]], Cell] = {}
    for folder in folders:
        for cell in _cells_in(folder):
            name = frozenset(cell.overrides.items())
            if name not in cells or _rank(cell) >= _rank(cells[name]):
                cells[name] = cell
    chosen = tuple(cells.values())
    keys = dict.fromkeys(key for cell in chosen for key in cell.overrides)
    several = (key for key in keys if len({cell.overrides.get(key) for cell in chosen}) > 1)
    return Sweep(chosen, tuple(key for key in several if key != SEED))


def _rank(cell: Cell) -> tuple[bool, float, bool]:
    return cell.results is not None, cell.finished, cell.folder is not None


def _cells_in(folder: Path) -> list[Cell]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name that of a multirun, outputs/sweeps/STAGE/TIME")
    places = [path.parents[1] for path in folder.glob("*/.hydra/overrides.yaml")]
    runs = [_read_cell(place) for place in sorted(places, key=_number)]
    there = [cell.overrides for cell in runs]
    wanted = _planned_in(folder / "multirun.yaml")
    if not runs and not wanted:
        raise UserError(f"{folder}: no run of a multirun in it; name a folder outputs/sweeps/STAGE/TIME")
    return runs + [Cell(overrides) for overrides in wanted if overrides not in there]


def _number(folder: Path) -> tuple[int, str]:
    """The order of the runs: folders are named 0_..., 1_..., 10_..."""
    first = folder.name.partition("_")[0]
    return int(first) if first.isdecimal() else 0, folder.name


def _planned_in(path: Path) -> list[dict[str, str]]:
    """The planned runs; none if the file is not there or another sweeper decides as it goes (optuna)."""
    if not path.is_file():
        return []
    hydra: Any = OmegaConf.to_container(_load(path).hydra, resolve=False)
    if not str(hydra["sweeper"]["_target_"]).endswith("BasicSweeper"):
        return []
    return planned(hydra["sweeper"].get("params") or {}, hydra["overrides"]["task"])


def _read_cell(folder: Path) -> Cell:
    overrides = as_mapping([str(item) for item in _load(folder / ".hydra" / "overrides.yaml")])
    results, outcomes = folder / "results.json", folder / OUTCOMES
    if not results.is_file():
        return Cell(overrides, folder)
    if not outcomes.is_file():
        raise UserError(f"{folder}: {OUTCOMES} is missing; run the sweep's command again to have it written")
    try:
        figures = json.loads(results.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{results}: not JSON: {error}") from error
    return Cell(overrides, folder, figures, read_outcomes(outcomes), results.stat().st_mtime)


def _load(path: Path) -> Any:
    try:
        return OmegaConf.load(path)
    except Exception as error:  # of YAML or OmegaConf
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error


def _logs(folder: Path) -> list[Path]:
    """What a run has printed into files, most telling first: submitit's logs of array jobs, then Hydra's."""
    number = folder.name.partition("_")[0]
    submitted = sorted(folder.parent.glob(f".submitit/*_{number}/*_log.err"))
    return [*reversed(submitted), *sorted(folder.glob("*.log"))]


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else ""
