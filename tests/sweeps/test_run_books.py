"""sweeps/*.yaml: every run of every run-book is a valid configuration, from any working directory."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from restrl.cli import RUN_BOOKS
from restrl.config_check import check
from sweeps.cells import planned
from tests.test_conf import composed, run_config

OPTUNA = importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is not None
BOOKS = sorted(path.stem for path in RUN_BOOKS.glob("*.yaml"))
GRIDS = [name for name in BOOKS if name != "optuna"]


def comments(name: str) -> str:
    text = (RUN_BOOKS / f"{name}.yaml").read_text()
    return text[: re.search(r"^[^#]", text, re.M).start()]


def cells(name: str) -> list[dict[str, str]]:
    config = composed("train", f"sweep={name}")
    assert config.hydra.mode.name == "MULTIRUN"
    return planned(config.hydra.sweeper.params, [f"sweep={name}"])


def test_there_is_one_per_question():
    names = (
        "ablation alpha methods optuna r0 ratio samples search seeds shaping sigma0 "
        "sigma0_r0_alpha sigma0_r0_alpha_small start_states value_model"
    )
    assert names.split() == BOOKS


@pytest.mark.parametrize("name", BOOKS)
def test_it_opens_with_question_command_and_cost(name):
    text = comments(name)
    assert text.startswith("# Question: ")
    assert f"\n# Command:  python train.py sweep={name}" in text
    assert re.search(rf"\n# On SLURM: python train\.py sweep={name}.* hydra/launcher=slurm_1gpu", text)
    assert re.search(r"\n# Cost: (\d+) runs", text)
    assert re.search(r"(?i)measured|estimated", text)


@pytest.mark.parametrize("name", GRIDS)
def test_every_cell_is_valid(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the run-books are found from anywhere
    runs = cells(name)
    assert int(re.search(r"# Cost: (\d+) runs", comments(name))[1]) == len(runs)
    seeds = {run.get("seed") for run in runs}
    first = [run for run in runs if run.get("seed") == runs[0].get("seed")]  # a seed changes no validity
    assert len(first) * len(seeds) == len(runs)
    found = set()
    for run in first:
        config = check(run_config(composed("train", *(f"{key}={value}" for key, value in run.items()))))
        found.add(repr(config))
    assert len(found) == len(first)  # each override reaches the configuration


def test_shaping_is_switched_as_a_whole():
    runs = [run for run in cells("shaping") if run["seed"] == "0"]
    found = []
    for run in runs:
        config = check(run_config(composed("train", *(f"{key}={value}" for key, value in run.items()))))
        shaping = config.grpo.shaping
        found.append((config.grpo.name, shaping.symbol_reward, shaping.trailing_penalty))
    assert found == [
        ("rest", 1e-3, 1e-6),
        ("rest", 0.0, 0.0),
        ("naive", 1e-3, 1e-6),
        ("naive", 0.0, 0.0),
    ]


def test_the_small_grid_is_an_override_of_the_quickstart():
    config = composed("train", "sweep=sigma0_r0_alpha_small")
    run = check(run_config(config))
    assert (run.dataset.train_limit, run.dataset.heldout_limit, run.grpo.max_steps) == (96, 96, 8)
    assert (run.grpo.lr, run.grpo.iterations, run.model.lora.r) == (1e-4, 1, 16)
    assert len(cells("sigma0_r0_alpha_small")) == 16


def test_the_command_line_wins():
    params = composed("train", "sweep=sigma0").hydra.sweeper.params
    runs = planned(params, ["sweep=sigma0", "seed=7", "grpo.sigma0=0.3,0.4"])
    assert runs == [
        {"grpo.sigma0": "0.3", "seed": "7", "sweep": "sigma0"},
        {"grpo.sigma0": "0.4", "seed": "7", "sweep": "sigma0"},
    ]


def test_optuna_maximizes():
    if not OPTUNA:
        with pytest.raises(MissingConfigException, match="hydra/sweeper/optuna"):
            composed("train", "sweep=optuna")
        return
    config = composed("train", "sweep=optuna")
    assert config.hydra.sweeper.direction == "maximize"
    check(run_config(config))


@pytest.mark.skipif(not OPTUNA, reason="needs the extra optuna")
def test_optuna_places_runs_where_the_objective_is_high(tmp_path):
    import subprocess
    import sys

    (tmp_path / "app.py").write_text(
        "import hydra\n"
        "@hydra.main(version_base='1.3', config_path=None)\n"
        "def main(config):\n"
        "    return -(config.x - 0.3) ** 2\n"
        "main()\n"
    )
    sweeper = ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.n_trials=20"]
    sweeper += ["hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=0", "+x=interval(0.0,1.0)"]
    command = [sys.executable, "app.py", "-m", "hydra.sweep.dir=out", *sweeper]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    found = re.search(r"x: ([\d.]+)", Path(tmp_path / "out" / "optimization_results.yaml").read_text())
    assert abs(float(found[1]) - 0.3) < 0.05


MULTIRUNS = [
    path.stem for path in sorted((RUN_BOOKS.parent / "conf" / "experiment").glob("*.yaml"))
    if "mode: MULTIRUN" in path.read_text()
]  # fmt: skip


@pytest.mark.parametrize("name", MULTIRUNS)
def test_every_cell_of_an_experiment_is_valid(name):
    config = composed("train", f"experiment={name}")
    runs = planned(config.hydra.sweeper.params, [f"experiment={name}"])
    text = (RUN_BOOKS.parent / "conf" / "experiment" / f"{name}.yaml").read_text()
    assert int(re.search(r"# (\d+) runs", text.replace(".  ", ".\n# "))[1]) == len(runs)
    for run in runs:
        check(run_config(composed("train", *(f"{key}={value}" for key, value in run.items()))))


CHOICES = [f"sweep={name}" for name in GRIDS] + [f"experiment={name}" for name in MULTIRUNS]


@pytest.mark.parametrize("choice", CHOICES)
def test_all_runs_are_in_one_folder(choice):
    """Hydra resolves the folder for each run; sweeps.report takes one folder."""
    runs = planned(composed("train", choice).hydra.sweeper.params, [choice])
    of_a_seed = [run for run in runs if run.get("seed") == runs[0].get("seed")]
    cells = [composed("train", *(f"{key}={value}" for key, value in run.items())) for run in of_a_seed]
    assert len({Path(cell.hydra.sweep.dir).parent for cell in cells}) == 1


def test_the_paper_s_tables_and_figures_are_experiments_in_both_sizes():
    there = {path.stem for path in (RUN_BOOKS.parent / "conf" / "experiment").glob("*.yaml")}
    names = {"table1", "table2", "fig3a", "fig3b", "ablations"}
    assert names | {f"small_{name}" for name in names} <= there
    assert {name.removeprefix("small_") for name in MULTIRUNS} == names - {"fig3b"}
