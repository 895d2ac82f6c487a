"""conf/: every file composes and passes the check, and every key says what it means."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from restrl.cli import register_schema
from restrl.config_check import check

CONF = Path(__file__).parent.parent / "conf"
FILES = sorted(path.relative_to(CONF).with_suffix("") for path in CONF.rglob("*.yaml"))
ROOTS = [path for path in FILES if len(path.parts) == 1]
OPTIONS = [path for path in FILES if len(path.parts) > 1]
GROUPS = sorted({path.parts[0] for path in OPTIONS} - {"hydra"})


def composed(root: str, *overrides: str):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(root, overrides=list(overrides), return_hydra_config=True)


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
            "experiment", "sweep"} <= set(GROUPS)  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_composes_and_is_right(option):
    roots = roots_of(option)
    assert roots, f"no command has the group {option.parent}"
    root = "train" if "train" in roots else roots[0]
    config = composed(root, f"{option.parent}={option.name}")
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
    assert groups <= set(GROUPS)
    check(run_config(composed(root)))


def test_what_names_a_run_is_not_repeated_in_folder_names():
    overrides = ["stage=sample", "experiment=smoke", "seed=3", "dataset.path=a/b", "grpo.sigma0=0.1"]
    config = composed("train", *overrides)
    excluded = config.hydra.job.config.override_dirname.exclude_keys
    assert {"stage", "experiment", "seed"} <= set(excluded)
    named = config.hydra.job.override_dirname
    assert named == "grpo.sigma0=0.1"


def test_every_sweep_is_a_multirun_over_keys_that_exist():
    job = run_config(composed("train"))
    for path in sorted((CONF / "sweep").glob("*.yaml")):
        hydra = composed("train", f"sweep={path.stem}").hydra
        assert hydra.mode.name == "MULTIRUN"
        for key, values in hydra.sweeper.params.items():
            assert OmegaConf.select(job, key) is not None
            for value in values.split(","):
                check(OmegaConf.merge(job, OmegaConf.from_dotlist([f"{key}={value}"])))


def test_experiments_override_what_they_say():
    config = check(run_config(composed("train", "experiment=smoke")))
    assert (config.dataset.train_limit, config.grpo.max_steps, config.decoder.sampling.n) == (12, 2, 2)


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


# these two repeat keys that the groups explain
DEFINING = [
    path for path in FILES if path.parts[0] not in ("experiment", "sweep", "hydra") and len(path.parts) > 1
]


@pytest.mark.parametrize("path", DEFINING, ids=str)
def test_every_key_says_what_it_means(path):
    text = (CONF / f"{path}.yaml").read_text()
    assert uncommented(text) == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_says_at_its_top_what_it_is(path):
    assert (CONF / f"{path}.yaml").read_text().startswith("# ")


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"experiment", "sweep", "stage"}))
def test_every_key_of_the_schema_stands_in_a_file(group):
    """So that reading conf/ is enough: no key hides in the code alone."""
    from dataclasses import asdict

    from restrl.config import Config

    written: set[str] = set()
    for path in sorted((CONF / group).glob("*.yaml")):
        written |= set(OmegaConf.load(path))
    assert set(asdict(getattr(Config(), group))) - written == set()
