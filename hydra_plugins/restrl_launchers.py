"""Hydra's launchers for multiruns on SLURM and on this machine: Hydra looks for them only in this package."""

from __future__ import annotations

import tempfile
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

if TYPE_CHECKING:
    from launchers.multirun import Cell


class _Followed(BaseSubmititLauncher):  # type: ignore[misc]  # it has no types
    """Follows all cells to their end, prints how each ended, and fails if one has no result."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # libraries load when they are needed
        from launchers.multirun import cells_of, failure, follow, new_console, table
        from restrl.process import EXIT_INTERRUPTED

        assert self.config is not None
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        cells = cells_of(job_overrides, initial_job_idx)
        console = new_console()
        try:
            follow(
                cells,
                lambda: self.alive(cells),
                lambda waiting: self.start(cells, waiting),
                console,
                self.reasons,
            )
        except BaseException as error:
            console.print(self.interrupted(cells), highlight=False, soft_wrap=True)
            if isinstance(error, KeyboardInterrupt):  # the line above says all
                raise SystemExit(EXIT_INTERRUPTED) from error
            raise
        finally:
            console.print(table(cells))
        problem = failure(cells)
        return [cell.returned(problem) for cell in cells]

    def __call__(
        self,
        sweep_overrides: list[str],
        job_dir_key: str,
        job_num: int,
        job_id: str,
        singleton_state: dict[type, Singleton],
    ) -> JobReturn:
        """Runs a cell in its job.  Of several tasks of a job, the first alone writes the run's folder."""
        from restrl.ranks import ranks_of

        arguments = (job_dir_key, job_num, job_id, singleton_state)
        if ranks_of().first:
            return super().__call__(sweep_overrides, *arguments)  # type: ignore[no-any-return]
        with tempfile.TemporaryDirectory() as folder:
            own = [f"hydra.sweep.dir={folder}", "hydra.output_subdir=null"]
            return super().__call__([*sweep_overrides, *own], *arguments)  # type: ignore[no-any-return]

    def submit(self, executor: Any, cells: Sequence[Cell]) -> None:
        """Submits cells, as one array where the executor has arrays.  Raises UserError."""
        from submitit.core.utils import FailedJobError

        from restrl.errors import UserError

        state = Singleton.get_state()
        rows = [
            (list(c.overrides), "hydra.sweep.dir", c.number, f"job_id_for_{c.number}", state) for c in cells
        ]
        try:
            jobs = executor.map_array(self, *zip(*rows, strict=True))
        except (FailedJobError, OSError) as error:
            raise UserError(f"the jobs were not taken: {' '.join(str(error).split())}") from error
        for cell, job in zip(cells, jobs, strict=True):
            cell.job = job

    @abstractmethod
    def start(self, cells: Sequence[Cell], waiting: Sequence[Cell]) -> None:
        """Submits those of the ``waiting`` cells that may run now."""

    @abstractmethod
    def alive(self, cells: Sequence[Cell]) -> Mapping[str, str]:
        """id -> waiting or running, of the jobs that have not ended."""

    def reasons(self) -> Mapping[str, str]:
        """id -> why a job does not start, where it waits for more than its turn."""
        return {}

    @abstractmethod
    def interrupted(self, cells: Sequence[Cell]) -> str:
        """Called after Ctrl-C; returns a line about the jobs that have not ended."""


class SlurmMultirun(_Followed):
    """One array of jobs."""

    def __call__(self, *arguments: Any) -> JobReturn:
        from launchers.multirun import run_until_taken

        run = super().__call__
        return run_until_taken(lambda: run(*arguments))

    def start(self, cells: Sequence[Cell], waiting: Sequence[Cell]) -> None:
        import submitit

        from launchers.multirun import new_console
        from launchers.shapes import Shape

        del cells
        shape = Shape("multirun", self.params)
        executor = submitit.AutoExecutor(
            folder=self.params["submitit_folder"],
            cluster="slurm",
            slurm_max_num_timeout=shape.requeues,
        )
        executor.update_parameters(name=self.params["name"], **shape.submitit())
        self.submit(executor, waiting)
        array = waiting[0].job.job_id.partition("_")[0]
        new_console().print(
            f"submitted {len(waiting)} runs as job {array} (squeue -j {array}; to end them: "
            f"scancel {array}); their folders are in {self.config.hydra.sweep.dir}",
            highlight=False,
            soft_wrap=True,
        )

    def alive(self, cells: Sequence[Cell]) -> Mapping[str, str]:
        from launchers.backends import slurm_states

        del cells
        return slurm_states()

    def interrupted(self, cells: Sequence[Cell]) -> str:
        ids = ",".join(cell.job.job_id for cell in cells if cell.job is not None and not cell.ended)
        return (
            f"the jobs go on: squeue -j {ids}; to end them: scancel {ids.replace(',', ' ')}\n"
            "end them, or wait for them, before the same command: it would submit new jobs beside them"
        )

    def reasons(self) -> Mapping[str, str]:
        from launchers.backends import slurm_reasons

        return slurm_reasons()


class LocalMultirun(_Followed):
    """Processes of this machine, of which ``at_a_time`` run together."""

    def __init__(self, at_a_time: int, **params: Any) -> None:
        super().__init__(**params)
        self.at_a_time = at_a_time

    def start(self, cells: Sequence[Cell], waiting: Sequence[Cell]) -> None:
        import submitit

        from launchers.shapes import COMMON

        active = sum(cell.job is not None and not cell.ended for cell in cells)
        executor = submitit.AutoExecutor(folder=self.params["submitit_folder"], cluster="local")
        executor.update_parameters(
            **{key: self.params[key] for key in COMMON if self.params.get(key) is not None}
        )
        if starting := waiting[: max(0, self.at_a_time - active)]:
            self.submit(executor, starting)

    def alive(self, cells: Sequence[Cell]) -> Mapping[str, str]:
        return {cell.job.job_id: "running" for cell in cells if cell.job is not None and not cell.job.done()}

    def interrupted(self, cells: Sequence[Cell]) -> str:
        running = [cell for cell in cells if cell.job is not None and not cell.ended]
        for cell in running:
            cell.job.cancel()
        return f"ended {len(running)} runs; the same command goes on where they stopped"
