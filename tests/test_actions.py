"""Where an action ends, by hand, for three families of tokenizers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restrl.actions import cut_actions, cut_positions, decode, initial_text, newline_of, text_of
from tests.engine.models import FAMILIES, tokenizer_of

CODE = "def f(x):\n    y = [x]\n\n    return y\n```"


def ids_of(text: str, family: str) -> list[int]:
    ids: list[int] = tokenizer_of(family)(text, add_special_tokens=False)["input_ids"]
    return ids


@pytest.mark.parametrize(
    ("family", "newline"), [("leads", "leads"), ("trails", "trails"), ("smollm2", "leads")]
)
def test_the_family_is_recognised(family: str, newline: str) -> None:
    assert newline_of(tokenizer_of(family)) == newline


@pytest.mark.parametrize(("family", "end"), [("leads", ""), ("trails", "\n"), ("smollm2", "")])
@pytest.mark.parametrize("code", ["def f(x):", "def f(x):\n", "def f(x):\n\n  \n"])
def test_initial_states_end_as_the_tokenizer_cuts(family: str, end: str, code: str) -> None:
    assert initial_text(code, tokenizer_of(family)) == "def f(x):" + end
    state, whole = ids_of("def f(x):" + end, family), ids_of("def f(x):\n    return x", family)
    assert whole[: len(state)] == state


@pytest.mark.parametrize("family", FAMILIES)
def test_an_empty_state_stays_empty(family: str) -> None:
    assert initial_text("", tokenizer_of(family)) == ""
    assert initial_text(" \n", tokenizer_of(family)) == ""


@pytest.mark.parametrize("family", ["leads", "smollm2"])
def test_a_leading_newline_opens_the_next_action(family: str) -> None:
    ids = ids_of(CODE, family)
    states = [text_of(ids, k, tokenizer_of(family)) for k in cut_positions(ids, tokenizer_of(family))]
    assert states == ["def f(x):", "def f(x):\n    y = [x]", "def f(x):\n    y = [x]\n\n    return y"]


def test_a_trailing_newline_closes_its_action() -> None:
    ids = ids_of(CODE, "trails")
    states = [
        text_of(ids, k, tokenizer_of("trails")).rstrip("\n")
        for k in cut_positions(ids, tokenizer_of("trails"))
    ]
    assert states == ["def f(x):", "def f(x):\n    y = [x]", "def f(x):\n    y = [x]\n\n    return y"]
    assert all(
        text_of(ids, k, tokenizer_of("trails")).endswith("\n")
        for k in cut_positions(ids, tokenizer_of("trails"))
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_one_line_without_its_end_has_no_cut(family: str) -> None:
    assert cut_positions(ids_of("    return x", family), tokenizer_of(family)) == []
    assert cut_positions([], tokenizer_of(family)) == []


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=25, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["x", " ", "    ", "\n", ":", "é", "漢", "🙂", "\t", "1", '"""']), max_size=40
    )
)
def test_cuts_split_the_text_without_loss(family: str, parts: list[str]) -> None:
    text = "".join(parts)
    ids = ids_of(text, family)
    cuts = cut_positions(ids, tokenizer_of(family))
    assert cuts == sorted(set(cuts))
    assert all(0 < k <= len(ids) for k in cuts)
    for k in cuts:
        state, rest = text_of(ids, k, tokenizer_of(family)), decode(ids[k:], tokenizer_of(family))
        assert state + rest == text
        assert state.endswith("\n") or rest.startswith("\n")
    # the actions' texts add up to the state's, characters of several tokens among them
    state = ""
    for k, action in cut_actions(ids, tokenizer_of(family)):
        state += action
        assert state == text_of(ids, k, tokenizer_of(family))
    # no action is blank
    bounds = [0, *cuts]
    actions = [decode(ids[a:b], tokenizer_of(family)) for a, b in pairwise(bounds)]
    assert all(action.strip() for action in actions)
