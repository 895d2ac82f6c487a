"""The cells of a sweep: which runs it consists of, and what each has left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

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


@dataclass(frozen=True)
class Sweep:
    """The cells of one or several multiruns of one question."""

    cells: tuple[Cell, ...]
    swept: tuple[str, ...]  # keys of which there are several values, without the seed

    def group_of(self, cell: Cell) -> tuple[str, ...]:
        """The values of the swept keys: runs of a group differ in their seed alone."""
        return tuple(cell.overrides.get(key, "-") for key in self.swept)


def planned(params: Mapping[str, Any], task: Sequence[str]) -> list[dict[str, str]]:
    """The overrides of each run that Hydra's own sweeper makes of ``hydra.sweeper.params`` and the command line."""
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
    runs = [_read_cell(path.parents[1]) for path in sorted(folder.glob("*/.hydra/overrides.yaml"))]
    there = [cell.overrides for cell in runs]
    wanted = _planned_in(folder / "multirun.yaml")
    if not runs and not wanted:
        raise UserError(f"{folder}: no run of a multirun in it; name a folder outputs/sweeps/STAGE/TIME")
    return runs + [Cell(overrides) for overrides in wanted if overrides not in there]


def _planned_in(path: Path) -> list[dict[str, str]]:
    """The planned runs; none if the file is not there or another sweeper decides as it goes (optuna)."""
    if not path.is_file():
        return []
    hydra = OmegaConf.to_container(_load(path), resolve=False)["hydra"]  # type: ignore[index, call-overload]
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
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
