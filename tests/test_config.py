"""The schema: ranges, values that do not go together, and what a bad key or value is told."""

import dataclasses
import functools
import typing
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from restrl.cli import register_schema
from restrl.config import Config, EngineConfig, RowConfig
from restrl.config_check import CHOOSING, check, explain
from restrl.errors import UserError

CONF = Path(__file__).parent.parent / "conf"


def checked(folder=None, **changes):
    """``check`` of the schema's defaults with dotted keys changed, and no type looked at before."""
    config = OmegaConf.create(OmegaConf.to_container(OmegaConf.structured(Config)))
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return check(config, folder)


def test_the_defaults_are_right():
    config = checked(grpo__sample__n=8, decoder__sampling__n=1)
    assert (config.grpo.sample.n, config.grpo.lr, config.seed) == (8, 1e-7, 0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("grpo__sigma0", -0.1, "grpo.sigma0=-0.1: must be >= 0 and <= 0.5"),
        ("grpo__sigma0", 0.6, "grpo.sigma0=0.6: must be >= 0 and <= 0.5"),
        ("grpo__alpha", 0.0, "grpo.alpha=0.0: must be > 0 and <= 1"),
        ("grpo__lr", float("nan"), "grpo.lr=nan: must be > 0"),
        ("grpo__lr", float("inf"), "grpo.lr=inf: must be > 0"),
        ("grpo__sample__n", 0, "grpo.sample.n=0: must be >= 1"),
        ("decoder__confidence", 1.0, "decoder.confidence=1.0: must be > 0 and < 1"),
        (
            "grpo__objective__ratio",
            "word",
            "grpo.objective.ratio=word: must be one of token, sequence",
        ),
        ("seed", -1, "seed=-1: must be >= 0"),
    ],
)
def test_out_of_range(key, value, message):
    with pytest.raises(UserError) as error:
        checked(**{key: value})
    assert str(error.value) == message


def test_the_ends_of_a_range_belong_to_it_or_not():
    assert checked(grpo__sigma0=0.0, grpo__alpha=1.0).grpo.alpha == 1.0
    assert checked(grpo__max_steps=None).grpo.max_steps is None  # null is off, and not out of range
    with pytest.raises(UserError, match=r"grpo.max_steps=0: must be >= 1"):
        checked(grpo__max_steps=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpo__rollout__n": 1}, "grpo.rollout.n=1: must be >= 2"),
        ({"grpo__rollout__temperature": 0.0}, "grpo.rollout.temperature=0: must be > 0"),
        ({"grpo__overlap": True}, "grpo.overlap=true: engine=hf has no copy of the weights"),
        (
            {"grpo__overlap": True, "engine__name": "vllm"},
            "grpo.overlap=true needs grpo.objective.tis_cap, since completions come from older",
        ),
        ({"model__date": "soon"}, "model.date=soon: must be an ISO date such as 2025-01-01"),
        (
            {"decoder__name": "best_of_n", "decoder__k": [1], "decoder__budgets": [1, 6]},
            "decoder.budgets=[1, 6]: 6 is out of range; each budget must be >= 1 and <= 5, the completions",
        ),
        (
            {"decoder__name": "sample", "decoder__greedy_first": True},
            "decoder.greedy_first=true: decoder=sample does not choose; use it with best_of_n or mcts",
        ),
        (
            {"decoder__name": "greedy", "decoder__vote": True},
            "decoder.vote=true: decoder=greedy does not choose; use it with best_of_n or mcts",
        ),
        (
            {
                "decoder__name": "best_of_n",
                "decoder__vote": True,
                "scorer__name": "skywork",
                "decoder__k": [1],
            },
            "decoder.vote=true: it adds scores up, and skywork's may be negative; set scorer.squash=true",
        ),
        ({"evaluation__budgets": [0]}, "evaluation.budgets=[0]: 0 is out of range; each budget must be >= 1"),
        ({"decoder__k": [1, 0]}, "decoder.k=[1, 0]: 0 is no number of samples; each k must be >= 1"),
        (
            {"decoder__k": [1, 8], "decoder__sampling__n": 4},
            "decoder.k=[1, 8]: pass@8 needs as many samples, and decoder.sampling.n is 4",
        ),
    ],
)
def test_values_that_do_not_go_together(changes, message):
    with pytest.raises(UserError) as error:
        checked(**changes)
    assert str(error.value).startswith(message)


GREEDY, SEARCH = {"decoder": "greedy"}, {"decoder": "mcts", "scorer": "vm"}


@pytest.mark.parametrize(
    ("rows", "iterations", "message"),
    [
        ([], 1, "evaluation.rows=[]: must have at least one row"),
        ([GREEDY, {"policy": "best"}], 1, "evaluation.rows[1].policy=best: must be one of base, trained"),
        (
            [{"decoder": "replay"}],
            1,
            "evaluation.rows[0].decoder=replay: must be one of greedy, sample, best",
        ),
        (
            [{"decoder": "mcts", "scorer": "skywork"}],
            1,
            "evaluation.rows[0].scorer=skywork: must be one of none, vm",
        ),
        ([{"decoder": "mcts"}], 1, "evaluation.rows[0].scorer=none: decoder=mcts needs one; set vm, prm,"),
        ([{"scorer": "vm"}], 1, "evaluation.rows[0].scorer=vm: decoder=sample uses none; leave it out"),
        (
            [{"decoder": "greedy", "greedy_first": True}],
            1,
            "evaluation.rows[0].greedy_first=true: decoder=greedy does not choose; use it with best_of_n or",
        ),
        ([GREEDY, SEARCH, GREEDY], 1, "evaluation.rows[2]: the same as rows[0]; each row must be unique"),
        ([{"policy": "trained"}], 0, "evaluation.rows[0].policy=trained: grpo.iterations=0 trains no policy"),
        (
            ["base greedy"],
            1,
            "evaluation.rows[0]=base greedy: must be a mapping with policy, decoder, scorer",
        ),
        (
            [{"polcy": "base"}],
            1,
            "evaluation.rows[].polcy: no such key; did you mean evaluation.rows[].policy?",
        ),
    ],
)
def test_wrong_rows(rows, iterations, message):
    with pytest.raises(UserError) as error:
        checked(stage__name="rest_rl", grpo__iterations=iterations, evaluation__rows=rows)
    assert str(error.value).startswith(message)


def test_rows_as_they_are_typed():
    register_schema()
    typed = "evaluation.rows=[{decoder: greedy}, {policy: trained, decoder: mcts, scorer: vm}]"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = check(
            compose("train", overrides=["stage=rest_rl", typed, "evaluation.rows.0.decoder=sample"])
        )
    assert config.evaluation.rows == [RowConfig("base", "sample"), RowConfig("trained", "mcts", "vm")]


def test_what_decodes_is_what_rows_may_name():
    from restrl.decode.registry import DECODERS
    from restrl.stages.settings import SCORED

    decoder = next(item for item in dataclasses.fields(RowConfig) if item.name == "decoder")
    assert set(decoder.metadata["choices"]) == set(DECODERS) - {"replay"}
    assert CHOOSING == SCORED


def test_a_key_that_the_engine_does_not_read(monkeypatch):
    """It would be a setting without an effect; its default may stand."""
    name, batch = (
        next(item for item in dataclasses.fields(EngineConfig) if item.name == key)
        for key in ("name", "batch_size")
    )
    monkeypatch.setattr(name, "metadata", {**name.metadata, "choices": ("hf", "far", "near")})
    monkeypatch.setattr(batch, "metadata", {**batch.metadata, "readers": ("hf", "near")})
    message = "engine.batch_size=3: engine=far does not read it, engine=hf and engine=near would"
    with pytest.raises(UserError) as error:
        checked(engine__name="far", engine__batch_size=3)
    assert str(error.value) == message
    assert checked(engine__name="far").engine.batch_size == 64
    assert checked(engine__name="near", engine__batch_size=3).engine.batch_size == 3


def test_a_decoder_that_chooses_needs_a_scorer():
    search = {"decoder__name": "mcts", "decoder__k": [1]}
    with pytest.raises(UserError, match=r"^decoder=mcts needs a scorer: scorer=vm, prm, orm or verifier$"):
        checked(**search)
    assert checked(**search, scorer__name="verifier").decoder.name == "mcts"
    assert checked(**search, stage__name="collect").decoder.name == "mcts"


def test_pass_at_k_asks_no_samples_of_a_file_that_has_its_own_number():
    config = checked(decoder__name="replay", decoder__k=[1, 100], decoder__sampling__n=1)
    assert config.decoder.k == [1, 100]


def test_a_key_that_was_added_is_a_typo():
    with pytest.raises(UserError) as error:
        checked(grpo__sigma_0=0.1)
    assert str(error.value).startswith(
        "grpo.sigma_0: no such key; did you mean grpo.sigma0? (grpo has name, "
    )


def test_a_wrong_type_names_the_key():
    with pytest.raises(
        UserError, match=r"^grpo\.sigma0: Value 'abc' of type 'str' could not be converted to Float"
    ):
        checked(grpo__sigma0="abc")


def test_an_interpolation_to_nowhere_names_the_key():
    with pytest.raises(UserError, match=r"grpo\.lr: Interpolation key 'model\.rate' not found"):
        checked(grpo__lr="${model.rate}")


def test_a_misspelt_group_on_the_command_line():
    register_schema()
    with (
        initialize_config_dir(str(CONF), version_base="1.3"),
        pytest.raises(ConfigCompositionException) as error,
    ):
        compose("train", overrides=["gpro.sigma0=0.1"])
    assert explain(error.value).startswith("gpro: no such key; did you mean grpo? (the configuration has ")


PATHS = {
    "model__path": "models/mine", "dataset__path": "train.jsonl", "dataset__heldout_path": "held/out.jsonl",
    "dataset__block_list": "blocked.txt", "decoder__path": "samples.jsonl", "scorer__path": "vm",
    "sandbox__cache": "verdicts", "sandbox__python": "env/bin/python", "paths__outputs": "out",
    "paths__cache": "cache",
}  # fmt: skip


def keys_with_paths(kind=Config, prefix=""):
    """The keys of the schema whose names say that they hold a path."""
    for name, hint in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from keys_with_paths(hint, f"{prefix}{name}__")
        elif name in ("path", "cache", "outputs", "python", "block_list") or name.endswith("_path"):
            yield prefix + name


def value_of(config, key):
    return functools.reduce(getattr, key.split("__"), config)


def test_every_path_means_the_folder_of_the_command(tmp_path, monkeypatch):
    assert set(keys_with_paths()) == PATHS.keys()
    for path in PATHS.values():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    away = tmp_path / "run"
    away.mkdir()
    monkeypatch.chdir(away)
    nodes = {"csv": {"_target_": "a.B", "save_dir": "logs", "name": "logs"}}
    config = checked(tmp_path, **PATHS, logger=nodes)
    for key, value in PATHS.items():
        assert value_of(config, key) == str(tmp_path / value)
    assert config.logger["csv"] == {"_target_": "a.B", "save_dir": str(tmp_path / "logs"), "name": "logs"}


def test_what_is_no_relative_path_stays(tmp_path, monkeypatch):
    names = {
        "model__path": "owner/name", "scorer__path": "owner/name", "dataset__block_list": "none",
        "sandbox__python": "python3.11", "dataset__path": "/a/b.jsonl", "sandbox__cache": None,
    }  # fmt: skip
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    config = checked(tmp_path, **names)
    assert {key: value_of(config, key) for key in names} == names


def test_paths_are_left_as_they_are_where_they_mean_the_same(tmp_path, monkeypatch):
    """So that messages show what the user wrote.  Programs run in another folder, though."""
    monkeypatch.chdir(tmp_path)
    config = checked(tmp_path, **PATHS)
    changed = {key for key, value in PATHS.items() if value_of(config, key) != value}
    assert changed == {"sandbox__python"}
    assert config.sandbox.python == str(tmp_path / "env/bin/python")
