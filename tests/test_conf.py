"""conf/: every file composes and passes the check, and every key says what it means."""

from __future__ import annotations

import os
import re
import shutil
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from restrl import cli
from restrl.cli import register_schema
from restrl.config_check import check, explain
from restrl.errors import UserError

CONF = Path(__file__).parent.parent / "conf"
# conf/local holds a machine's own settings
FILES = sorted(
    path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml") if path.parent.name != "local"
)
ROOTS = [path for path in FILES if len(path.parts) == 1]
OPTIONS = [path for path in FILES if len(path.parts) > 1]
GROUPS = sorted({path.parts[0] for path in OPTIONS} - {"hydra"})
EXPERIMENTS = [path.name for path in OPTIONS if path.parts[0] == "experiment"]
DEBUG = [path.name for path in OPTIONS if path.parts[0] == "debug"]


def composed(root: str, *overrides: str, conf: Path = CONF):
    local = ("~local",) if conf == CONF else ()  # not what this machine happens to set
    register_schema()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose(root, overrides=[*local, *overrides], return_hydra_config=True)


def run_config(config):
    """The part of a composed configuration that the job sees."""
    plain = OmegaConf.to_container(config)
    del plain["hydra"]
    return OmegaConf.create(plain)


def roots_of(option: Path) -> list[str]:
    """The commands whose defaults list has the option's group."""
    group = str(option.parent)
    texts = {root.name: (CONF / f"{root}.yaml").read_text() for root in ROOTS}
    return [name for name, text in texts.items() if re.search(rf"^  - (override )?{group}: ", text, re.M)]


def test_there_is_a_file_of_every_kind():
    assert [root.name for root in ROOTS] == ["decode", "train"]
    assert {"stage", "model", "dataset", "grpo", "engine", "sandbox", "trainer", "decoder", "scorer", "paths",
            "sampling", "evaluation", "experiment", "debug"} <= set(GROUPS)  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_is_right(option):
    roots = roots_of(option)
    assert roots, f"no command has the group {option.parent}"
    root = "train" if "train" in roots else roots[0]
    chosen = ["scorer=verifier"] if str(option) in ("decoder/best_of_n", "decoder/mcts") else []
    config = composed(root, f"{option.parent}={option.name}", *chosen)
    check(run_config(config))
    group = option.parts[0]
    if group in config and "name" in config[group]:
        assert config[group].name == option.name


@pytest.mark.parametrize("root", ["train", "decode"])
def test_the_defaults_list(root):
    """A later entry wins: the launcher's override has to be the last, and the schema the first."""
    defaults = OmegaConf.load(CONF / f"{root}.yaml").defaults
    assert defaults[0] == "schema"
    assert dict(defaults[-1]) == {"override hydra/launcher": "basic"}
    names = [next(iter(entry)) for entry in defaults if not isinstance(entry, str)]
    groups = {name for name in names if not name.startswith("override")}
    assert groups <= {*GROUPS, "sweep", "optional local"}  # the options of sweep are the run-books
    check(run_config(composed(root)))


def test_what_names_a_run_is_not_repeated_in_folder_names():
    overrides = ["stage=sample", "experiment=smoke", "seed=3", "dataset.path=a/b", "grpo.sigma0=0.1"]
    config = composed("train", *overrides)
    excluded = config.hydra.job.config.override_dirname.exclude_keys
    assert {"stage", "experiment", "seed"} <= set(excluded)
    named = config.hydra.job.override_dirname
    assert named == "grpo.sigma0=0.1"


def test_experiments_override_what_they_say():
    config = check(run_config(composed("train", "experiment=smoke")))
    assert (config.dataset.train_limit, config.grpo.max_steps, config.decoder.sampling.n) == (12, 2, 2)


@pytest.mark.parametrize("root", ["train", "decode"])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_with_both_commands(root, experiment):
    check(run_config(composed(root, f"experiment={experiment}")))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_its_command_and_its_cost(experiment):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    opening = text[: re.search(r"^[^#]", text, re.M).start()]
    assert f"#   python train.py experiment={experiment}\n" in opening
    assert "memory" in opening.lower()


@pytest.mark.parametrize("debug", DEBUG)
@pytest.mark.parametrize("experiment", [*EXPERIMENTS, None])
def test_debug_makes_every_run_small(debug, experiment):
    for root in ("train", "decode"):
        chosen = [] if experiment is None else [f"experiment={experiment}"]
        config = composed(root, *chosen, f"debug={debug}")
        assert config.hydra.run.dir.startswith("outputs/debug/")
        small = check(run_config(config))
        assert (small.dataset.train_limit, small.dataset.heldout_limit, small.sandbox.workers) == (8, 4, 1)
        assert root == "decode" or small.evaluation.completions == 4
        assert small.decoder.mcts.completions == small.mcts.completions == 10
        assert (small.model.name == "tiny") == (debug == "tiny")
    for stage in sorted((CONF / "stage").glob("*.yaml")):
        check(run_config(composed("train", f"stage={stage.stem}", f"debug={debug}")))


@pytest.fixture
def machine(tmp_path):
    """A copy of conf/ with settings of one machine."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    lines = "# @package _global_\npaths: {outputs: /data/out}\ndataset: {train_limit: 99}\n"
    (conf / "local" / "default.yaml").write_text(lines)
    (conf / "local" / "box.yaml").write_text(lines.replace("99", "98"))
    return conf


@pytest.mark.parametrize("root", ["train", "decode"])
def test_local_settings_win_over_files_and_lose_to_the_command_line(machine, root):
    def of(*overrides):
        config = composed(root, "experiment=smoke", *overrides, conf=machine)
        run = check(run_config(config))
        return run.paths.outputs, run.dataset.train_limit, config.hydra.run.dir.split("/runs/")[0]

    assert of() == ("/data/out", 99, "/data/out")
    assert of("paths.outputs=here", "dataset.train_limit=5") == ("here", 5, "here")
    assert of("~local") == ("outputs", 12, "outputs")
    assert of("local=box")[1] == 98
    (machine / "local" / "default.yaml").write_text("# @package _global_\npaths: {output: /data/out}\n")
    with pytest.raises(ConfigCompositionException) as error:
        of()
    assert explain(error.value) == (
        "paths.output: no such key; did you mean paths.outputs? (paths has outputs, cache)"
        " (in conf/local/default.yaml)"
    )


def test_git_ignores_local_settings():
    lines = (CONF.parent / ".gitignore").read_text().splitlines()
    assert lines.index("conf/local/*") < lines.index("!conf/local/README.md")


def test_sampling_is_set_once():
    def of(*overrides):
        return check(run_config(composed("train", "decoder=mcts", "scorer=verifier", *overrides)))

    def temperatures(config):
        decoding = config.decoder.sampling, config.decoder.mcts.sampling, config.evaluation.mcts.sampling
        return [s.temperature for s in (config.grpo.sample, config.mcts.sampling, *decoding)]

    assert temperatures(of()) == [0.7] * 5
    assert temperatures(of("sampling.temperature=0.2")) == [0.2] * 5
    assert temperatures(of("decoder.sampling.temperature=0.2")) == [0.7, 0.7, 0.2, 0.2, 0.2]
    assert of("sampling.temperature=0.2").grpo.rollout.temperature == 1.0
    assert of("sampling.completions=64").evaluation.completions == 64
    best = ("decoder=best_of_n", "scorer=verifier", "sampling.completions=64")
    assert check(run_config(composed("decode", *best))).decoder.sampling.n == 64
    assert of("decoder.sampling.n=7").decoder.mcts.sampling.n == 7


def test_the_base_of_the_data_sets_is_none():
    from restrl.data import load_problems

    config = check(run_config(composed("train", "dataset=default")))
    with pytest.raises(UserError, match=r"dataset\.name: 'default' is not one of starter, "):
        load_problems(config.dataset, "train")


def uncommented(text: str) -> list[str]:
    """The lines that set a key and have no comment, on them or right above.

    A file's ``name`` is explained by the comment at its top, a section by its keys' comments.
    """
    lines = text.splitlines()
    found = []
    for above, line in zip(["", *lines], lines, strict=False):
        setting = re.match(r"\s*[\w./]+: *[^\s#|>]", line)
        explained = "#" in line or above.lstrip().startswith("#")
        if setting and not explained and not line.startswith("name: "):
            found.append(line)
    return found


def test_uncommented_finds_them():
    assert uncommented("# top\nname: a\nn: 1  # count\n# why\nm: 2\nk: 3\ns:\n  t: 4\n") == ["k: 3", "  t: 4"]


# these repeat keys that the groups explain
REPEATING = ("experiment", "debug")
DEFINING = [
    path for path in OPTIONS if path.parts[0] not in REPEATING and path.parts[:2] != ("hydra", "help")
]


@pytest.mark.parametrize("path", DEFINING, ids=str)
def test_every_key_says_what_it_means(path):
    text = (CONF / f"{path}.yaml").read_text()
    assert uncommented(text) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_at_its_top_what_it_is(path):
    assert (CONF / f"{path}.yaml").read_text().startswith("# ")


OPEN = ("logger", "callbacks")  # whatever class has a name there


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {*REPEATING, *OPEN, "stage"}))
def test_every_key_of_the_schema_stands_in_a_file(group):
    """So that reading conf/ is enough: no key hides in the code alone."""
    from dataclasses import asdict

    from restrl.config import Config

    written: set[str] = set()
    for path in sorted((CONF / group).glob("*.yaml")):
        written |= set(OmegaConf.load(path))
    assert set(asdict(getattr(Config(), group))) - written == set()


@pytest.mark.parametrize(("root", "debug"), [("train", ()), ("decode", ()), ("train", ("debug=fast",))])
def test_runs_of_the_same_second_have_folders_of_their_own(root, debug, monkeypatch):
    """Also those of the same microsecond; the names are in the order of time."""

    def folders():
        hydra = composed(root, *debug).hydra
        return hydra.run.dir, hydra.sweep.dir

    first, second = folders(), folders()
    assert not {*first} & {*second}
    monkeypatch.setattr(cli, "datetime", SimpleNamespace(now=lambda: datetime(2025, 1, 2, 3, 4, 5, 6)))
    names = []
    for pid in (7, 8):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        names += [path.rsplit("/", 1)[1] for path in folders()]
    assert names == [
        "2025-01-02_03-04-05-000006-7_seed0", "2025-01-02_03-04-05-000006-7",
        "2025-01-02_03-04-05-000006-8_seed0", "2025-01-02_03-04-05-000006-8",
    ]  # fmt: skip


def test_a_run_has_one_folder():
    hydra = composed("train").hydra
    assert hydra.run.dir == hydra.run.dir
