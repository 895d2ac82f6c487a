"""The command line: bad input ends in one line and exit code 2, at once and with nothing lost."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import ROOT, Run, Strike, artifacts, run

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
GOOD = {"task_id": "a", "prompt": "p", "tests": {"kind": "stdio", "inputs": ["1"], "outputs": ["1"]}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return make_workplace(tmp_path_factory.mktemp("cli"))


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return make_workplace(tmp_path)


def error_of(finished: Run) -> str:
    """The one line of a run that bad input ended."""
    assert finished.code == 2, finished.err
    lines = finished.err.splitlines()
    assert len(lines) == 1, finished.err
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "grpo.sigma_0=0.1",
            "grpo.sigma_0: no such key; did you mean grpo.sigma0? (grpo has name",
        ),
        ("gpro.sigma0=0.1", "gpro: no such key; did you mean grpo? (the configuration has stage, model"),
        ("+grpo.foo=1", "grpo.foo: no such key (grpo has name, iterations"),
        ("grpo.sigma0=abc", "grpo.sigma0: Value 'abc' of type 'str' could not be converted to Float"),
        ("grpo.sigma0=0.9", "grpo.sigma0=0.9: must be >= 0 and <= 0.5"),
        (
            "grpo.objective.advantage=foo",
            "grpo.objective.advantage=foo: must be one of group_std",
        ),
        (
            "stage=foo",
            "stage=foo: no such choice; stage may be assemble, check, collect, dapo, evaluate, grpo, ",
        ),
        (
            "experiment=foo",
            "experiment=foo: no such choice; experiment may be ablations, fig3a, fig3b, paper, quickstart, "
            "small, small_ablations, small_fig3a, small_fig3b, small_table1, small_table2, smoke, stage2, "
            "starter, table1, table2",
        ),
        ("decoder.k=[1,8]", "decoder.k=[1, 8]: pass@8 needs as many samples, and decoder.sampling.n is 2"),
        ("engine.name=sglang", "engine.name=sglang: must be one of hf"),
        ("grpo.sigma0={", ""),  # Hydra's own words
    ],
)
def test_a_bad_configuration(shared: Workplace, override: str, message: str) -> None:
    assert error_of(shared.train(override)).startswith(message)
    assert artifacts(shared.outputs) == set()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model.path=./missing",),
            "model.path=./missing: no such folder, and a hub id",
        ),
        (("dataset.path=missing.jsonl",), "missing.jsonl: no such file; dataset.path must name a file"),
        (("trainer=gpu",), "trainer.accelerator=gpu: no GPU is visible here"),
        (("sandbox.require=[moat]",), "sandbox.require: 'moat' is not one of "),
        (("dataset.heldout_fraction=0",), "PROBLEMS: 8 problems in 8 families are too few to split"),
    ],
)
def test_input_that_is_not_there(shared: Workplace, overrides: tuple[str, ...], message: str) -> None:
    import torch

    if torch.cuda.is_available() and "trainer=gpu" in overrides:
        pytest.skip("this machine has a GPU")
    wanted = message.replace("PROBLEMS", str(shared.folder / "problems.jsonl"))
    assert error_of(shared.train(*overrides)).startswith(wanted)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"task_id": "b", ', "not JSON: "),
        (json.dumps({"task_id": "b", "prompt": "p"}), "tests: "),
        (json.dumps(GOOD | {"task_id": "b", "tests": {"kind": "call"}}), "tests."),
        (
            json.dumps(GOOD | {"task_id": "b", "tests": GOOD["tests"] | {"inputs": [], "outputs": []}}),
            "tests",
        ),
        (json.dumps(GOOD), "task_id: 'a' is already in line 1"),
    ],
)
def test_a_broken_problem(workplace: Workplace, line: str, message: str) -> None:
    path = workplace.folder / "problems.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    assert error_of(workplace.train()).startswith(f"{path}:2: {message}")


def test_a_data_set_without_the_split(tmp_path: Path) -> None:
    arguments = ("model=tiny", "dataset=humaneval", f"paths.outputs={tmp_path}")
    message = error_of(run("train.py", tmp_path / "console", *arguments))
    assert message.startswith("dataset=humaneval is held out: it is a benchmark without a train split")


def test_no_problem_left_after_the_filter(workplace: Workplace) -> None:
    """The samples stay: the next attempt with a lower threshold begins where this one ended."""
    message = error_of(workplace.train("grpo.sigma0=0.5"))
    assert "grpo.sigma0" in message
    assert "4" in message  # of how many problems
    assert [name.split("-")[0] for name in sorted(artifacts(workplace.outputs))] == ["assemble", "sample"]


@pytest.mark.parametrize("script", ["train.py", "decode.py"])
@pytest.mark.parametrize("where", ["/proc/outputs", "FILE/outputs"])
def test_outputs_that_cannot_be_written(tmp_path: Path, script: str, where: str) -> None:
    """Paths that root cannot write either."""
    (tmp_path / "file").write_text("")
    outputs = where.replace("FILE", str(tmp_path / "file"))
    message = error_of(run(script, tmp_path / "console", "model=tiny", f"paths.outputs={outputs}"))
    assert message.startswith(f"cannot write {outputs}")
    assert "paths.outputs" in message


def test_a_disk_that_is_full_for_a_library(workplace: Workplace) -> None:
    """Event files are TensorBoard's; its error says neither which file nor what to do."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    strike = Strike("tensorboard.summary.writer.record_writer:RecordWriter.write", full)
    message = error_of(workplace.train(strikes=(strike,)))
    assert message.startswith(f"cannot write {workplace.outputs}: No space left on device; make room there")


def test_a_bad_run_of_a_multirun_ends_alone(workplace: Workplace) -> None:
    finished = workplace.train(
        "stage=assemble",
        "grpo.sigma0=0.5,0.05",
        f"hydra.sweep.dir={workplace.folder / 'sweep'}",
        "hydra.sweep.subdir=${hydra.job.num}",
        "-m",
    )
    assert error_of(finished).startswith("job 0 (")
    assert "grpo.sigma0=0.5" in finished.err
    assert "kept" in finished.out  # the second job
    reason = (workplace.folder / "sweep" / "0" / "failure.txt").read_text()
    assert reason.startswith("no problem left to train on")
    assert not (workplace.folder / "sweep" / "1" / "failure.txt").exists()


# --- in a fresh interpreter --------------------------------------------------------------------------------


def fresh(*arguments: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """``python train.py arguments``, and whether it loaded torch."""
    code = (
        "import atexit, runpy, sys\n"
        "atexit.register(lambda: print('TORCH' if 'torch' in sys.modules else 'LIGHT'))\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, '.')\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done, done.stdout.endswith("TORCH\n")


def test_a_typo_is_answered_before_torch_is_loaded(tmp_path: Path) -> None:
    done, torch_loaded = fresh("train.py", "grpo.sigma_0=0.1", f"paths.outputs={tmp_path}")
    assert error_of(Run(done.returncode, done.stdout, done.stderr)).startswith("grpo.sigma_0: no such key")
    assert not torch_loaded


@pytest.mark.parametrize("script", ["train.py", "decode.py"])
def test_help_lists_groups_and_examples(script: str) -> None:
    done, torch_loaded = fresh(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert not torch_loaded
    assert f"{script} GROUP=OPTION" in done.stdout
    assert (
        "grpo: cispo, dapo, dr_grpo, gspo, naive, rest, rest_filter, rest_paper, rest_partial, rloo, tis"
        in done.stdout
    )
    assert done.stdout.count("\n  python ") >= 3


def test_cfg_job_prints_the_whole_configuration(tmp_path: Path) -> None:
    finished = run("train.py", tmp_path, "--cfg", "job", "experiment=smoke")
    assert (finished.code, finished.err) == (0, "")
    assert "  train_limit: 12\n" in finished.out
    assert "  sigma0: 0.05\n" in finished.out


def test_debug_tiny_trains_and_answers(tmp_path: Path) -> None:
    """Random weights solve nothing; still a step has to have groups to train."""
    finished = run("train.py", tmp_path / "console", "debug=tiny", f"paths.outputs={tmp_path / 'outputs'}")
    assert (finished.code, finished.err) == (0, "")
    assert "grpo: 2/2" in finished.out
    assert "2 groups trained" in finished.out
    assert list((tmp_path / "outputs" / "debug").glob("*/report.md"))


def test_relative_paths_of_runs_that_work_in_their_own_folders(workplace: Workplace) -> None:
    """They mean the folder of the command, in each run of a sweep."""
    here = os.path.relpath(workplace.folder, ROOT)
    finished = run(
        "decode.py", workplace.folder / "console", "model=tiny", "dataset=jsonl", "dataset.max_tokens=2",
        f"dataset.path={here}/problems.jsonl", "dataset.heldout_fraction=0.4",
        "decoder=greedy", "decoder.k=[1]", "decoder.bootstrap=100", "sandbox.workers=1", "seed=0,1",
        f"paths.outputs={here}/outputs", "hydra.job.chdir=true", "hydra.sweep.subdir=${hydra.job.num}", "-m",
    )  # fmt: skip
    assert (finished.code, finished.err) == (0, "")
    (sweep,) = (workplace.outputs / "sweeps" / "decode_greedy").iterdir()
    assert (sweep / "0" / "results.json").exists()
    assert (sweep / "1" / "results.json").exists()
    assert len(artifacts(workplace.outputs, "evaluate-")) == 2
    assert not list(sweep.rglob("artifacts"))
