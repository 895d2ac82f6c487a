"""Tokens here are single characters (id = ord), and an action ends after each newline."""

import numpy as np
import pytest

from restrl.actions import cut_positions
from restrl.actions import text_of as tokenizer_text
from restrl.config import GrpoConfig
from restrl.errors import UserError
from restrl.records import Completion, Group, StartState, Verdict
from restrl.select.start_states import (
    action_ends,
    assemble,
    depth_probabilities,
    number_of_partial_states,
    partial_states,
    sample_depths,
    unfiltered,
)
from tests.engine.models import FAMILIES, tokenizer_of

FENCE = "\n```"


def ids_of(text):
    return tuple(ord(c) for c in text)


def text_of(ids, k):
    return "".join(chr(i) for i in ids[:k])


def cuts(ids):
    return [k + 1 for k, i in enumerate(ids) if chr(i) == "\n"]


def completion(text, end=FENCE):
    return Completion(ids_of(text + end), text, (0.0,) * len(text + end), "stop")


def group(rewards, text="a\nb\nc", task_id="t"):
    verdicts = tuple(
        Verdict("harness_error", 0, 1, None, 0.0) if r is None else Verdict("failed", 0, 1, r, 0.0)
        for r in rewards
    )
    # the i-th completion is told from the others by its first line
    completions = tuple(completion(f"{i}{text}") for i in range(len(rewards)))
    return Group(task_id, ids_of("P:"), "def f():\n", completions, verdicts)


def rng():
    return np.random.default_rng(0)


def test_probabilities_are_the_papers_formula():
    # alpha = 0.5, |A| = 3: (1 - 0.5) / (1 - 0.125) = 4/7, then halved: 4/7, 2/7, 1/7
    assert depth_probabilities(3, 0.5) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert depth_probabilities(4, 1.0) == pytest.approx([0.25] * 4)
    assert depth_probabilities(1, 0.95) == pytest.approx([1.0])


def test_number_of_draws_is_a_ceiling():
    assert number_of_partial_states(0.5, 5) == 3
    assert number_of_partial_states(0.5, 4) == 2
    assert number_of_partial_states(0.07, 100) == 7  # 0.07 x 100 = 7.000000000000001
    assert number_of_partial_states(0.0, 7) == 0
    assert number_of_partial_states(0.5, 1) == 1


def test_draws_with_replacement_follow_the_probabilities():
    depths = sample_depths(3, 7000, 0.5, True, rng())
    counts = np.bincount(depths, minlength=4)[1:]
    # expected 4000, 2000, 1000; binomial standard deviations are 41, 38, 29
    assert counts == pytest.approx([4000, 2000, 1000], abs=120)


def test_draws_without_replacement_follow_sequential_sampling():
    # two of three with p = 4/7, 2/7, 1/7.  P(3 is left out) = P(1,2) + P(2,1)
    #   = 4/7 x (2/7)/(3/7) + 2/7 x (4/7)/(5/7) = 8/21 + 8/35 = 64/105
    generator = rng()
    left_out = sum(3 not in sample_depths(3, 2, 0.5, False, generator) for _ in range(4000)) / 4000
    assert left_out == pytest.approx(64 / 105, abs=0.03)  # 4 standard deviations


def test_draws_without_replacement_are_different_and_end_with_the_support():
    assert sample_depths(3, 5, 0.5, False, rng()) == [1, 2, 3]
    assert sample_depths(0, 5, 0.5, False, rng()) == []
    assert sample_depths(0, 5, 0.5, True, rng()) == []
    # alpha^(j-1) underflows to 0 for most of these
    assert sample_depths(400, 400, 1e-3, False, rng()) == list(range(1, 401))


def test_the_seed_decides_the_draw():
    assert sample_depths(50, 20, 0.95, True, np.random.default_rng(1)) == sample_depths(
        50, 20, 0.95, True, np.random.default_rng(1)
    )
    assert sample_depths(50, 20, 0.95, True, np.random.default_rng(1)) != sample_depths(
        50, 20, 0.95, True, np.random.default_rng(2)
    )


def test_action_ends_stop_before_the_fence():
    prefixes, complete = action_ends(completion("a\nb\nc\n\n"), cuts, text_of)
    assert prefixes == [2, 4]  # "a\n", "a\nb\n"; "a\nb\nc\n" is the whole solution already
    assert complete == 5  # "a\nb\nc"


def test_action_ends_where_the_newline_opens_the_next_action():
    def cuts_before(ids):
        return [k for k, i in enumerate(ids) if chr(i) == "\n"]

    # cuts: "a", "a\nb", "a\nb\nc" (the whole solution), and behind that the blank line
    assert action_ends(completion("a\nb\nc\n"), cuts_before, text_of) == ([1, 3], 5)


def test_a_cut_that_spells_something_else_is_no_state():
    def lossy(ids, k):  # as a cut inside a character of several bytes does
        return "?\n" if k == 2 else text_of(ids, k)

    assert action_ends(completion("a\nb\nc"), cuts, lossy) == ([4], 5)


def test_one_action_has_no_prefix():
    assert action_ends(completion("a"), cuts, text_of) == ([], 1)
    assert action_ends(completion("  \n"), cuts, text_of) == ([], None)


def test_a_solution_that_ends_inside_a_token_has_no_end():
    pieces = {1: "a\n", 2: "b\n", 3: "c" + FENCE}  # the last token spells "c" and the fence in one
    sample = Completion((1, 2, 3), "a\nb\nc", (0.0, 0.0, 0.0), "stop")
    ends = action_ends(sample, lambda ids: list(ids), lambda ids, k: "".join(pieces[i] for i in ids[:k]))
    assert ends == ([1, 2], None)


def test_partial_states_are_cuts_of_the_sampled_tokens():
    config = GrpoConfig(r0=0.9, ratio=1.0)
    states = partial_states(group([0.2, 1.0, 1.0]), 0.4, cuts, text_of, config, rng())
    # the first best is completion 1, "1a\nb\nc": |A| = 3, ceil(1.0 x 3) = 3 draws, support 2
    assert [s.code for s in states] == ["def f():\n1a\n", "def f():\n1a\nb\n"]
    assert [s.prompt_ids for s in states] == [ids_of("P:1a\n"), ids_of("P:1a\nb\n")]
    assert [s.depth for s in states] == [1, 2]
    assert {s.spread for s in states} == {0.4}


def test_the_complete_solution_is_a_state_only_as_published():
    config = GrpoConfig(ratio=1.0, complete_solution=True)
    states = partial_states(group([0.0, 1.0]), 0.5, cuts, text_of, config, rng())
    assert [s.code for s in states] == ["def f():\n1a\n", "def f():\n1a\nb\n", "def f():\n1a\nb\nc"]
    assert states[-1].prompt_ids == ids_of("P:1a\nb\nc")


def test_published_draw_may_repeat_a_state():
    config = GrpoConfig(ratio=1.0, alpha=0.01, complete_solution=True, replacement=True)
    states = partial_states(group([0.0, 1.0]), 0.5, cuts, text_of, config, rng())
    assert [s.depth for s in states] == [1, 1, 1]  # p(1) = 0.99


def test_blank_lines_are_actions_as_published():
    config = GrpoConfig(ratio=1.0, alpha=1.0, complete_solution=True, blank_actions=True)
    # lines: "1a", "", "", "b", "", "c": |A| = 6; here every line's end is a token's
    sample = group([0.0, 1.0], text="a\n\n\nb\n\nc")

    def cuts_of_code(ids):  # where an action with something to say ends, its blank lines left to the next one
        return [k for k in cuts(ids) if "".join(map(chr, ids[:k])).split("\n")[-2].strip()]

    states = partial_states(sample, 0.5, cuts_of_code, text_of, config, rng())
    assert [s.depth for s in states] == [1, 2, 3, 4, 5, 6]  # 6 draws without replacement
    assert [s.code.removeprefix("def f():\n") for s in states] == [
        "1a\n", "1a\n", "1a\n", "1a\n\n\nb\n", "1a\n\n\nb\n", "1a\n\n\nb\n\nc",
    ]  # fmt: skip
    # without them |A| = 3
    plain = GrpoConfig(ratio=1.0, complete_solution=True)
    assert [s.depth for s in partial_states(sample, 0.5, cuts_of_code, text_of, plain, rng())] == [1, 2, 3]


@pytest.mark.parametrize("family", FAMILIES)
def test_blank_lines_count_whatever_tokens_spell_them(family):
    tokenizer = tokenizer_of(family)
    text = "def f(x):\n\n    y = x\n  \n\n    return y"  # 6 lines, of which 3 are blank
    ids = tuple(tokenizer(text + FENCE, add_special_tokens=False)["input_ids"])
    best = Completion(ids, text, (0.0,) * len(ids), "stop")
    sample = Group("t", (7,), "", (best,), (Verdict("passed", 1, 1, 1.0, 0.0),))
    config = GrpoConfig(ratio=1.0, blank_actions=True)
    states = partial_states(
        sample,
        0.5,
        lambda ids: cut_positions(ids, tokenizer),
        lambda ids, k: tokenizer_text(ids, k, tokenizer),
        config,
        rng(),
    )
    assert [s.code.rstrip() for s in states] == ["def f(x):"] * 2 + ["def f(x):\n\n    y = x"] * 3


def test_without_filter_and_partial_states_every_problem_gives_its_initial_state():
    states = [StartState(f"t{i}", (i,), "", 0, None) for i in range(3)]
    assembly = unfiltered(states)
    assert assembly.states == states
    assert assembly.report.text() == (
        "nothing was sampled or filtered (grpo.sigma0=0, grpo.partial_states=false); 3 start states, "
        "the initial ones of all problems"
    )
    with pytest.raises(UserError, match="there was none to sample from"):
        unfiltered([])


def test_below_r0_there_are_no_partial_states():
    config = GrpoConfig(r0=0.9, ratio=1.0)
    assert partial_states(group([0.0, 0.89]), 0.4, cuts, text_of, config, rng()) == []
    assert len(partial_states(group([0.0, 0.9]), 0.4, cuts, text_of, config, rng())) == 2
    assert partial_states(group([None, None]), 0.0, cuts, text_of, config, rng()) == []


def test_a_one_line_solution_gives_no_unfinished_prefix():
    one_line = group([0.0, 1.0], text="a")
    assert partial_states(one_line, 0.5, cuts, text_of, GrpoConfig(), rng()) == []
    published = GrpoConfig(complete_solution=True, replacement=True)
    assert [s.depth for s in partial_states(one_line, 0.5, cuts, text_of, published, rng())] == [1]


def test_assemble_keeps_what_varies_and_says_why_not():
    groups = [
        group([0.0, 1.0], task_id="varies"),
        group([0.5, 0.5], task_id="flat"),
        group([None, None], task_id="unjudged"),
        group([], task_id="empty"),
        group([0.2, 0.6], task_id="weak"),
    ]
    assembly = assemble(groups, cuts, text_of, GrpoConfig(ratio=0.5), rng())
    # "varies" has |A| = 3: ceil(0.5 x 3) = 2 draws from 2 prefixes; "weak" stays below r0
    assert [(s.task_id, s.depth) for s in assembly.states] == [
        ("varies", 0),
        ("varies", 1),
        ("varies", 2),
        ("weak", 0),
    ]
    assert assembly.states[0].prompt_ids == ids_of("P:")
    report = assembly.report
    assert (report.problems, report.kept, report.partial) == (5, 2, 2)
    assert report.dropped == {"reward std below sigma0": 1, "nothing judged": 1, "no completion": 1}
    assert report.reward_stds_before == pytest.approx([0.5, 0.0, 0.2])
    assert report.reward_stds_after == pytest.approx([0.5, 0.2])


def test_ratio_zero_and_naive_have_initial_states_only():
    groups = [
        group([0.0, 1.0], task_id="varies"),
        group([0.5, 0.5], task_id="flat"),
        group([None], task_id="none"),
    ]
    assert [s.depth for s in assemble(groups[:1], cuts, text_of, GrpoConfig(ratio=0.0), rng()).states] == [0]
    naive = assemble(groups, cuts, text_of, GrpoConfig(sigma0=0.0, partial_states=False), rng())
    assert [(s.task_id, s.depth) for s in naive.states] == [("varies", 0), ("flat", 0), ("none", 0)]
    assert naive.report.dropped == {}


def test_nothing_left_says_which_threshold_did_it():
    groups = [group([0.25, 0.25]), group([0.5, 0.5]), group([None])]
    with pytest.raises(
        UserError,
        match=r"no problem left .* of 3, 2 dropped for reward std below sigma0, 1 dropped for "
        r"nothing judged \(grpo.sigma0=0.05; the best reward of all is 0.50\)",
    ):
        assemble(groups, cuts, text_of, GrpoConfig(), rng())
    with pytest.raises(UserError, match="no completion could be judged"):
        assemble(groups[2:], cuts, text_of, GrpoConfig(), rng())
    with pytest.raises(UserError, match="there was none to sample from"):
        assemble([], cuts, text_of, GrpoConfig(), rng())


def test_a_partial_state_that_fills_the_context_is_left_out_and_counted():
    # prompt "P:" and completion "0a\nb\nc": states of 2, 5, 7 and (the whole solution) 8 tokens
    config = GrpoConfig(sigma0=0.0, r0=0.5, ratio=1.0, complete_solution=True)

    def lengths(positions):
        assembly = assemble([group([1.0, 0.0])], cuts, text_of, config, rng(), positions)
        found = [len(state.prompt_ids) for state in assembly.states]
        return found, assembly.report.no_room, assembly.report.text()

    assert lengths(None)[:2] == lengths(9)[:2] == ([2, 5, 7, 8], 0)
    assert "no room" not in lengths(9)[2]
    assert lengths(8)[:2] == ([2, 5, 7], 1)
    assert lengths(7)[:2] == ([2, 5], 2)  # one token of room is what a sample needs
    assert lengths(7)[2].endswith(
        "2 start states, 1 of them partial; 2 partial states left out: no room for an answer"
    )
