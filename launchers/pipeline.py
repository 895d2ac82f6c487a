"""A stage's steps as dependent jobs: ``python -m launchers.pipeline stage=rest_rl launcher=slurm_8gpu``.

Each job is ``train.py`` with the same overrides and ``stage.only=STEP``; a step over problems is divided
among the jobs of an array.  What jobs leave for each other are the artifacts.  The folder of a pipeline
follows from its command: the same command finds it again, and submits nothing that has succeeded.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from launchers.backends import Backend, Local, Slurm
from launchers.job import JobFiles
from launchers.multirun import new_console
from launchers.shapes import CONF, Shape, shape_of
from launchers.states import Part, Pipeline, StepJobs
from launchers.watch import REPORT, Watch, failures, plan_table, say_end, status_table
from restrl.cli import one_line, register_schema
from restrl.config import Config
from restrl.config_check import check
from restrl.errors import UserError
from restrl.files import write_json_atomic
from restrl.process import EXIT_INTERRUPTED
from restrl.stages.plan import Step
from restrl.stages.run import plan_of

ROOT = Path(__file__).parents[1]
COMMAND = "command.json"


@dataclass(frozen=True)
class Launcher:
    """A file launchers/NAME.yaml."""

    kind: str  # slurm or local
    shapes: dict[str, str]  # what a step needs (``plan.Machine``) -> a shape of conf/hydra/launcher/
    resources: dict[str, dict[str, Any]]  # what a step needs -> changes to its shape
    parts: int  # jobs that divide the problems of a step
    at_a_time: int | None  # jobs of this machine that run together
    retries: int  # attempts of a job after its first


def read_launcher(overrides: Sequence[str]) -> Launcher:
    """``overrides``: launcher=NAME and launcher.KEY=VALUE.  Raises UserError."""
    named = (item.removeprefix("launcher=") for item in overrides if item.startswith("launcher="))
    name = next(named, "local")
    path = Path(__file__).with_name(f"{name}.yaml")
    if not path.exists():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml")))
        raise UserError(f"launcher={name}: no such launcher; there are {known}")
    node = OmegaConf.load(path)
    OmegaConf.set_struct(node, True)
    for changed in node.resources.values():
        OmegaConf.set_struct(changed, False)
    changes = [item.removeprefix("launcher.") for item in overrides if item.startswith("launcher.")]
    try:
        node.merge_with_dotlist(changes)
        values = OmegaConf.to_container(node, resolve=True)
        assert isinstance(values, dict)
        launcher = Launcher(**{item.name: values[item.name] for item in fields(Launcher)})
    except OmegaConfBaseException as error:
        raise UserError(f"launcher: {one_line(error)}") from error
    for key, least in (("parts", 1), ("retries", 0)):
        value = getattr(launcher, key)
        if not isinstance(value, int) or value < least:
            raise UserError(f"launcher.{key}={value}: must be a number >= {least}")
    return launcher


def build(overrides: Sequence[str], launcher: Launcher, cwd: Path) -> Pipeline:
    """The pipeline of a ``train.py`` command.  Raises UserError for a command that ``train.py`` refuses."""
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = check(compose("train", list(overrides)), cwd)
        if any(item.startswith(("sweep=", "+sweep=")) for item in overrides):
            raise UserError("sweep: a pipeline makes one run; train.py with hydra/launcher=... makes a sweep")
        if any(item.startswith("hydra/launcher=") for item in overrides):
            raise UserError("hydra/launcher: of sweeps; a pipeline takes launcher=NAME, such as slurm_small")
        if config.stage.only is not None:
            raise UserError("stage.only: a pipeline makes all steps; leave it out")
        steps = plan_of(config).steps
        machines = {step.machine for step in steps}
        shapes = {
            machine: shape_of(launcher.shapes[machine], overrides, launcher.resources[machine])
            for machine in sorted(machines)
        }
    key = hashlib.sha256(json.dumps([sorted(overrides), str(cwd)]).encode()).hexdigest()[:8]
    folder = Path(config.paths.outputs) / "pipelines" / f"{config.stage.name}-{key}"
    accelerator = _accelerator(config, shapes)
    jobs = [
        StepJobs(
            step.name,
            step.needs,
            shape,
            _parts(step, shape, config, overrides, launcher, folder, accelerator),
        )
        for step in steps
        for shape in [shapes[step.machine]]
    ]
    return Pipeline(folder, jobs, launcher.retries, cwd)


def _accelerator(config: Config, shapes: dict[Any, Shape]) -> str:
    """One for all jobs, because samples of a GPU are not those of a CPU; also for those that need neither."""
    if config.trainer.accelerator != "auto":
        return config.trainer.accelerator
    return "gpu" if any(shape.gpus for shape in shapes.values()) else "cpu"


def _parts(
    step: Step,
    shape: Shape,
    config: Config,
    overrides: Sequence[str],
    launcher: Launcher,
    folder: Path,
    accelerator: str,
) -> list[Part]:
    count = launcher.parts if step.divisible else 1
    parts = []
    for number in range(count):
        place = folder / "jobs" / (step.name if count == 1 else f"{step.name}/{number}")
        run_folder = folder / REPORT if step.name == REPORT else place / "run"
        own = [f"stage.only={step.name}", f"hydra.run.dir={run_folder}"]
        if count > 1:
            own += [f"stage.part={number}", f"stage.parts={count}"]
        trainer = shape.trainer(config.trainer.strategy, accelerator)
        parts.append(
            Part(JobFiles(place), [sys.executable, str(ROOT / "train.py"), *overrides, *trainer, *own])
        )
    return parts


def open_folder(folder: Path) -> tuple[list[str], Launcher, Path]:
    """The command of an earlier pipeline.  Raises UserError if the folder has none."""
    path = folder / COMMAND
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return list(known["overrides"]), Launcher(**known["launcher"]), Path(known["cwd"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no pipeline is there ({error})") from error


def backend_of(pipeline: Pipeline, launcher: Launcher) -> Backend:
    if launcher.kind == "slurm":
        return Slurm(pipeline.folder / "submitit")
    if launcher.kind == "local":
        others = {part.ids[-1]: part.files for part in pipeline.parts if part.ids}
        return Local(launcher.at_a_time or 1, others)
    raise UserError(f"launcher.kind={launcher.kind}: must be slurm or local")


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launchers.pipeline", description=__doc__)
    parser.add_argument("overrides", nargs="*", help="as for train.py, and launcher=NAME, launcher.KEY=VALUE")
    parser.add_argument("--dry-run", action="store_true", help="print the jobs and submit nothing")
    parser.add_argument("--watch", action="store_true", help="follow the jobs, and try those that fail again")
    parser.add_argument(
        "--status", action="store_true", help="print what the jobs are doing, and nothing else"
    )
    parser.add_argument("--cancel", action="store_true", help="end the jobs of the pipeline")
    parser.add_argument("--folder", type=Path, help="an earlier pipeline's folder, in place of its overrides")
    parser.add_argument("--poll", type=float, default=10.0, help="seconds between two looks (10)")
    return parser


def run(options: argparse.Namespace, console: Console) -> int:
    """Returns the exit code.  Raises UserError."""
    if options.folder is not None:
        if options.overrides:
            raise UserError("--folder names an earlier pipeline: leave the overrides out")
        overrides, launcher, cwd = open_folder(options.folder)
        pipeline = build(overrides, launcher, cwd)
    else:
        own = [item for item in options.overrides if item.split("=")[0].split(".")[0] == "launcher"]
        overrides, cwd = [item for item in options.overrides if item not in own], Path.cwd()
        looks = options.status or options.cancel or not own
        pipeline, launcher = _with_its_launcher(overrides, read_launcher(own), cwd, looks)
    if options.dry_run:
        console.print(plan_table(pipeline))
        return 0
    if options.status:
        return _status(pipeline, launcher, console)
    backend = backend_of(pipeline, launcher)
    pipeline.folder.mkdir(parents=True, exist_ok=True)
    with _alone(pipeline.folder):
        if options.cancel:
            console.print(
                f"ended {pipeline.cancel(backend)} jobs; the same command goes on where they stopped"
            )
            return 0
        if not (options.watch and options.folder):
            console.print(plan_table(pipeline))
        known = {"overrides": overrides, "launcher": asdict(launcher), "cwd": str(cwd)}
        write_json_atomic(pipeline.folder / COMMAND, known)
        try:
            if not options.watch:
                pipeline.forget_failures(backend)
            if options.watch or backend.watched:
                return Watch(pipeline, backend, console, options.poll).run()
            pipeline.advance(backend)
        finally:
            backend.close()
            if backend.watched:
                pipeline.forget_unstarted()
    console.print(status_table(pipeline))
    again = f"python -m launchers.pipeline --folder {pipeline.folder}"
    console.print(
        f"follow it: {again} --watch\nlook at it: {again} --status", highlight=False, soft_wrap=True
    )
    return 0


def _with_its_launcher(
    overrides: Sequence[str], named: Launcher, cwd: Path, looks: bool
) -> tuple[Pipeline, Launcher]:
    """The pipeline with the launcher that it was submitted with, if ``looks``; else with the ``named`` one.

    Raises UserError if jobs of one kind go on while the command names the other kind.
    """
    pipeline = build(overrides, named, cwd)
    if not (pipeline.folder / COMMAND).exists():
        return pipeline, named
    before = open_folder(pipeline.folder)[1]
    if before == named:
        return pipeline, named
    if looks:
        return build(overrides, before, cwd), before
    if before.kind != named.kind:
        submitted = build(overrides, before, cwd)
        submitted.look(backend_of(submitted, before))
        if any(part.status in ("waiting", "running") for part in submitted.parts):
            raise UserError(
                f"{pipeline.folder}: its jobs go on ({before.kind}); end them with --cancel before you "
                f"submit them elsewhere ({named.kind})"
            )
    return pipeline, named


def _status(pipeline: Pipeline, launcher: Launcher, console: Console) -> int:
    """Exit code 1 if a job failed and nobody tries it again."""
    backend = backend_of(pipeline, launcher)
    pipeline.settled_look(backend)
    say_end(pipeline, console)
    lines = failures(pipeline)
    statuses = {part.status for part in pipeline.parts}
    if statuses == {"new"}:
        lines.append("nothing is submitted; the same command without --status submits it")
    if statuses & {"failed", "lost"}:
        lines.append("--watch in place of --status tries a job that failed again")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if pipeline.succeeded:
        return 0
    return 1 if pipeline.over else 0


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two processes must not submit the same jobs."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"{folder}: another process follows this pipeline; --status shows its jobs") from None


def main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what runs here saves its work
    try:
        return run(arguments().parse_intermixed_args(argv), new_console())
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_code if isinstance(error, UserError) else UserError.exit_code
    except KeyboardInterrupt:
        text = "jobs on a cluster go on, and jobs of this machine have ended; the same command goes on"
        print(f"interrupted: {text}", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
