"""conf/grpo and conf/decoder: what the published methods differ in, and a comment for each key."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from restrl.cli import register_schema
from restrl.config import Config
from restrl.decode.registry import DECODERS

CONF = Path(__file__).parent.parent / "conf"


def composed(group, name):
    with initialize_config_dir(str(CONF), version_base=None):
        chosen = compose(overrides=[f"+{group}={name}"])
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), chosen))


def flat(config, prefix=""):
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def difference(name, base):
    new, old = (dict(flat(asdict(composed("grpo", n).grpo))) for n in (name, base))
    return {key: new[key] for key in new if new[key] != old[key] and key != "name"}


def test_the_default_leaves_the_paper_where_its_comment_says():
    assert difference("rest_paper", "rest") == {
        "replacement": True,
        "complete_solution": True,
        "blank_actions": True,
        "rollout.temperature": 0.7,
        "rollout_until": "eos",
        "objective.aggregate": "token",
        "objective.kl_on_ties": True,
        "shaping.variance_floor": None,
        "lr_schedule": "linear",
    }
    lr = OmegaConf.load(CONF / "grpo" / "rest_paper.yaml").lr  # that of `rest` is the model's
    assert lr == 1e-7
    paper = composed("grpo", "rest_paper").grpo
    assert (paper.sigma0, paper.r0, paper.alpha, paper.ratio) == (0.05, 0.9, 0.95, 0.5)
    assert (paper.sample.n, paper.rollout.n, paper.objective.kl) == (5, 8, 0.04)


def test_the_paper_s_keys_say_what_its_code_does():
    text = (CONF / "grpo" / "rest_paper.yaml").read_text()
    keys = [line for line in text.splitlines() if re.match(r"\s*\w+: \S", line) and "name:" not in line]
    assert len(keys) == 10
    blocks = re.split(r"\n(?=\s*\w+: ?)", text[text.index("\nname:") + 1 :])
    assert [b for b in blocks if re.match(r"\s*\w+: \S", b) and "name:" not in b and "code: " not in b] == []


def test_baselines_differ_in_what_they_are_about():
    assert difference("naive", "rest") == {"sigma0": 0.0, "partial_states": False}
    assert difference("dapo", "naive") == {
        "dynamic_sampling": 4,
        "objective.clip_high": 0.28,
        "objective.aggregate": "token",
        "objective.kl": 0.0,
        "shaping.overlong_max": 1024,
    }
    assert difference("dr_grpo", "naive") == {
        "objective.advantage": "group_mean",
        "objective.aggregate": "constant",
        "objective.kl": 0.0,
    }
    assert difference("rloo", "naive") == {
        "objective.advantage": "leave_one_out",
        "objective.aggregate": "constant",
    }
    assert difference("gspo", "naive") == {
        "updates_per_step": 4,
        "objective.ratio": "sequence",
        "objective.clip_low": 3e-4,
        "objective.clip_high": 4e-4,
        "objective.kl": 0.0,
    }
    assert difference("cispo", "naive") == {
        "updates_per_step": 4,
        "objective.surrogate": "cispo",
        "objective.clip_low": 1.0,
        "objective.clip_high": 4.0,
        "objective.aggregate": "token",
        "objective.kl": 0.0,
    }
    assert difference("tis", "naive") == {"objective.tis_cap": 2.0}


def test_the_ablations_are_halves_of_the_default():
    assert difference("rest_filter", "rest") == {"partial_states": False}
    assert difference("rest_partial", "rest") == {"sigma0": 0.0}
    assert difference("naive", "rest") == {"partial_states": False, "sigma0": 0.0}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["stage=grpo"], "naive"),
        (["stage=dapo"], "dapo"),
        (["stage=rest_dpo"], "rest"),
        (["stage=grpo", "grpo=rloo"], "rloo"),
        (["grpo=rest_paper", "stage=dapo"], "rest_paper"),
    ],
)
def test_a_baseline_chooses_its_objective_unless_the_command_does(overrides, expected):
    register_schema()
    with initialize_config_dir(str(CONF), version_base=None):
        assert compose("train", overrides=overrides).grpo.name == expected


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_every_decoder_has_its_configuration(name):
    decoder = composed("decoder", name).decoder
    assert decoder.name == name
    assert max(decoder.k) <= decoder.sampling.n


@pytest.mark.parametrize("group", ["grpo", "decoder", "scorer"])
def test_every_file_names_itself(group):
    for path in (CONF / group).glob("*.yaml"):
        assert getattr(composed(group, path.stem), group).name == path.stem


@pytest.mark.parametrize("path", sorted([*CONF.glob("grpo/*.yaml"), *CONF.glob("decoder/*.yaml")]), ids=str)
def test_every_value_has_a_comment(path):
    values = [line for line in path.read_text().splitlines() if re.match(r"\s*\w+: \S", line)]
    assert [line for line in values if "#" not in line and not line.startswith("name:")] == []


def test_the_full_list_of_keys_stands_in_one_file():
    written = OmegaConf.to_container(OmegaConf.load(CONF / "grpo" / "rest.yaml"))
    assert dict(flat(written)).keys() == dict(flat(asdict(Config().grpo))).keys()


def test_the_paper_s_experiments_take_the_paper_s_keys():
    """experiment=paper repeats grpo=rest_paper for all stages, baselines included."""
    with initialize_config_dir(str(CONF), version_base=None):
        register_schema()
        for stage in ("rest_grpo", "grpo", "rest_dpo"):
            config = compose("train", overrides=[f"stage={stage}", "experiment=paper", "~local"])
            paper = dict(flat(OmegaConf.to_container(OmegaConf.load(CONF / "grpo" / "rest_paper.yaml"))))
            of_run = dict(flat(OmegaConf.to_container(config.grpo, resolve=True)))
            assert {key: of_run[key] for key in paper if key not in ("name", "defaults")} == {
                key: value for key, value in paper.items() if key not in ("name", "defaults")
            }
            assert (config.dpo.lr, config.vm.lr, config.sft.lr) == (1e-7,) * 3
