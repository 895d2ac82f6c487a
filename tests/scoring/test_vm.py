"""The value model as a scorer: equal to one forward per state, no state computed twice."""

import pytest
import torch

from restrl.config import ModelConfig, PathsConfig, ScorerConfig
from restrl.errors import UserError
from restrl.model.tiny import tiny_tokenizer
from restrl.model.value import new_value_model, save_value_model
from restrl.objective.value_loss import head_values
from restrl.records import Problem, State
from restrl.scoring.registry import ScorerInputs, build_scorer, is_oracle, scorer_fingerprint, scorer_kind
from restrl.scoring.vm import ValueScorer

PROMPTS = {"a": (5, 9, 200, 7), "b": (31, 8)}
STATES = [
    State(task, PROMPTS[task], ids, "")
    for task, ids in [
        ("a", (11, 12)), ("b", (11, 12)), ("a", (11, 12, 13)), ("a", (11, 40)), ("b", ()), ("a", (11, 12)),
    ]
]  # fmt: skip


def model(head="scalar", std=0.02):
    built = new_value_model(ModelConfig(source="random"), PathsConfig(), head)
    torch.manual_seed(0)
    torch.nn.init.normal_(built.score.weight, std=std)
    return built


class Counted:
    """Counts the tokens that go through a model's decoder."""

    def __init__(self, scorer):
        self.tokens = 0
        scorer.model.decoder.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _module, _args, kwargs):
        self.tokens += kwargs["input_ids"].numel()


def alone(built, state):
    """By transformers' own class and attention, clipped as it is used."""
    ids = torch.tensor([state.prompt_ids + state.ids])
    with torch.no_grad():
        return float(head_values(built(input_ids=ids).logits).clamp(0, 1))


@pytest.mark.parametrize("head", ["scalar", "prob"])
@pytest.mark.parametrize("tokens", [8192, 7, 1])
def test_scores_equal_one_forward_per_state(head, tokens):
    built = model(head)
    if head == "scalar":  # centred, so that the clip decides for few
        built.score.weight.data += 0.5 * torch.ones(64) / 64
    scores = ValueScorer(built, tokens_per_batch=tokens).score(STATES)
    assert scores == pytest.approx([alone(built, state) for state in STATES], abs=1e-5)
    assert len({round(score, 4) for score in scores}) > 2


def test_scores_are_clipped():
    scores = ValueScorer(model(std=10.0)).score(STATES)
    assert set(scores) <= {0.0, 1.0}
    assert set(scores) == {0.0, 1.0}


def test_a_prefix_is_computed_once_and_a_state_never_twice():
    scorer = ValueScorer(model())
    counted = Counted(scorer)
    first = scorer.score(STATES)
    # a: 4 + (11 12 13, 40) = 8; b: 2 + (11 12) = 4
    assert counted.tokens == 12
    assert first[0] == first[5]
    assert scorer.score([STATES[3], STATES[0]]) == [first[3], first[0]]
    assert counted.tokens == 12
    new = State("a", PROMPTS["a"], (11, 12, 13, 14), "")
    scorer.score([STATES[2], new])
    assert counted.tokens == 12 + 8  # the new one alone, with the path to it


def test_a_score_does_not_depend_on_the_others():
    together = ValueScorer(model()).score(STATES)
    apart = [ValueScorer(model()).score([state])[0] for state in STATES]
    assert together == pytest.approx(apart, abs=1e-6)


def test_the_oldest_states_are_forgotten(monkeypatch):
    monkeypatch.setattr("restrl.scoring.vm.CACHED", 2)
    scorer = ValueScorer(model())
    counted = Counted(scorer)
    scores = scorer.score(STATES)
    before = counted.tokens
    assert scorer.score(STATES[3:5]) == scores[3:5]  # the last two that were new
    assert counted.tokens == before
    scorer.score(STATES[:1])
    assert counted.tokens > before


def test_a_saved_model_is_built_by_name(tmp_path):
    save_value_model(model(), tiny_tokenizer(), tmp_path / "vm")
    resources = ScorerInputs({}, torch.device("cpu"))
    expected = ValueScorer(model()).score(STATES)
    for name, kind in (("vm", "state"), ("prm", "state"), ("orm", "outcome")):
        config = ScorerConfig(name=name, path=str(tmp_path / "vm"))
        scorer = build_scorer(config, resources)
        assert scorer.kind == scorer_kind(config) == kind
        assert scorer.score(STATES) == pytest.approx(expected, abs=1e-6)


def test_a_scorer_without_a_model_says_where_to_get_one():
    resources = ScorerInputs({}, torch.device("cpu"))
    with pytest.raises(UserError, match=r"scorer=vm: set scorer\.path to the folder of a value model"):
        build_scorer(ScorerConfig(name="vm"), resources)
    with pytest.raises(UserError, match="scorer=none rates nothing"):
        build_scorer(ScorerConfig(), resources)
    with pytest.raises(UserError, match=r"cannot load the value model .*nothing"):
        build_scorer(ScorerConfig(name="vm", path="/nothing/here"), resources)


def test_the_fingerprint_follows_the_weights_and_not_the_speed(tmp_path):
    paths = PathsConfig(cache=str(tmp_path / "cache"))
    save_value_model(model(), tiny_tokenizer(), tmp_path / "a")
    save_value_model(model("prob"), tiny_tokenizer(), tmp_path / "b")

    def found(name, **changes):
        config = ScorerConfig(name="vm", path=str(tmp_path / name), **changes)
        return scorer_fingerprint(config, paths, torch.device("cpu"))

    assert found("a") == found("a", tokens_per_batch=7)
    assert found("a") != found("b")
    assert found("a") != found("a", max_tokens=100)
    assert scorer_fingerprint(ScorerConfig(name="verifier"), paths, torch.device("cpu")) == {
        "name": "verifier"
    }


class Recorder:
    def __init__(self):
        self.programs = []

    def judge(self, items):
        from restrl.records import Verdict

        self.programs += items
        rewards = {"good": 1.0, "bad": 0.0, "odd": None}
        return [Verdict("failed", 0, 1, rewards[program], 0.0) for program, _ in items]


def test_the_verifier_runs_the_tests():
    judge = Recorder()
    problems = {"a": Problem("a", "?", {"kind": "call"})}
    opened = []

    def opening():
        opened.append(True)
        return judge

    config = ScorerConfig(name="verifier")
    scorer = build_scorer(config, ScorerInputs(problems, torch.device("cpu"), opening))
    assert scorer.score([]) == []
    assert not opened  # the sandbox is opened when there is something to run
    states = [State("a", (), (), text, terminal=True) for text in ("good", "odd", "bad")]
    assert scorer.score(states) == [1.0, None, 0.0]
    assert judge.programs[0] == ("good", {"kind": "call"})
    assert scorer.kind == scorer_kind(config) == "outcome"
    assert is_oracle(config)
    assert not is_oracle(ScorerConfig(name="vm"))
