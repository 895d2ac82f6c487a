"""The starter problems: size, split, determinism, and tests that tell right from wrong."""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from restrl.config import DatasetConfig
from restrl.data import load_problems
from restrl.data.starter import FAMILIES
from restrl.data.starter.family import Family, axes, cases, make_problems
from restrl.records import Problem, to_json

TRAIN = load_problems(DatasetConfig(), "train")
HELDOUT = load_problems(DatasetConfig(), "heldout")
PROBLEMS = TRAIN + HELDOUT


def passed(program: str, problem: Problem) -> int:
    """How many tests the program passes.  Only for programs of our own: nothing is isolated here."""
    namespace: dict[str, Any] = {}
    exec(program, namespace)
    function, count = namespace[problem.tests["fn_name"]], 0
    for args, output in zip(problem.tests["inputs"], problem.tests["outputs"], strict=True):
        result = function(*json.loads(json.dumps(args)))
        count += type(result) is type(output) and result == output
    return count


class Rename(ast.NodeTransformer):
    """Names become v0, v1, ... in order of appearance, but for builtins; constants become their type."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def _new(self, name: str) -> str:
        return self.names.setdefault(name, f"v{len(self.names)}")

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return node if hasattr(builtins, node.id) else ast.Name(self._new(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(self._new(node.arg))

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(type(node.value).__name__)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.name, node.body = "f", node.body[1:]  # the docstring goes
        self.generic_visit(node)
        return node


def normalized(program: str) -> str:
    return ast.dump(Rename().visit(ast.parse(program)))


def test_size() -> None:
    heldout = sum(family.heldout for family in FAMILIES)
    assert (len(FAMILIES) - heldout, heldout) == (46, 64)
    assert (len(TRAIN), len(HELDOUT)) == (46 * 6, 64 * 3) == (276, 192)
    assert Counter(p.family for p in PROBLEMS) == {f.name: 3 if f.heldout else 6 for f in FAMILIES}


def test_ids_and_texts_are_unique() -> None:
    assert len({p.task_id for p in PROBLEMS}) == len(PROBLEMS)
    assert len({p.reference for p in PROBLEMS}) == len(PROBLEMS)


def test_normalization_sees_through_names_and_constants() -> None:
    one = normalized('def f(a, b):\n    """x"""\n    return a + b * 2')
    assert normalized('def g(p, q):\n    """y"""\n    return p + q * 7') == one
    assert normalized('def f(a, b):\n    """x"""\n    return a - b * 2') != one


def test_no_heldout_problem_is_a_rename_of_a_training_one() -> None:
    assert not {p.family for p in TRAIN} & {p.family for p in HELDOUT}
    train = {normalized(p.reference or ""): p.task_id for p in TRAIN}
    shared = [(p.task_id, train[key]) for p in HELDOUT if (key := normalized(p.reference or "")) in train]
    assert shared == []


def families_that_share_a_solution() -> list[tuple[str, ...]]:
    """With all options of each family, and so with any seed."""
    families: dict[str, set[str]] = {}
    for family in FAMILIES:
        for problem in make_problems(family, len(family.options), seed=0):
            families.setdefault(normalized(problem.reference or ""), set()).add(family.name)
    return [tuple(sorted(names)) for names in families.values() if len(names) > 1]


def test_no_heldout_family_has_a_solution_of_a_training_one() -> None:
    heldout = {family.name: family.heldout for family in FAMILIES}
    assert len(heldout) == len(FAMILIES)
    shared = families_that_share_a_solution()
    assert [names for names in shared if len({heldout[name] for name in names}) > 1] == []


def test_few_heldout_families_share_a_solution() -> None:
    # Intervals resample families as if they had nothing in common.
    heldout = {family.name for family in FAMILIES if family.heldout}
    assert sorted(names for names in families_that_share_a_solution() if heldout.issuperset(names)) == [
        ("end_of_list", "end_of_text"),
        ("end_of_list", "end_of_text", "of_list"),
        ("of_list", "spread"),
        ("repeat_text", "times_constant"),
        ("sort_list", "value_summary"),
    ]


def test_every_family_fills_with_every_option_and_seed() -> None:
    for family in FAMILIES:
        for seed in range(20):
            count = 3 if family.heldout else 6
            assert len(make_problems(family, max(count, len(family.options)), seed)) >= count


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_reference_passes_and_trivial_programs_do_not(seed: int) -> None:
    config = DatasetConfig(seed=seed)
    for problem in load_problems(config, "train") + load_problems(config, "heldout"):
        total = len(problem.tests["inputs"])
        assert 6 <= total <= 10
        assert problem.reference is not None
        assert problem.reference.startswith(problem.code)
        assert passed(problem.reference, problem) == total, problem.task_id
        for body in (
            "pass",
            "return 0",
            "return ''",
            "return []",
            "return {}",
            "return True",
            "return False",
        ):
            assert passed(f"{problem.code}\n    {body}\n", problem) <= total // 2, (problem.task_id, body)
        assert passed(problem.code + "\n", problem) == 0, problem.task_id
        first = problem.code.split("(")[1].split(")")[0].split(",")[0]
        assert passed(f"{problem.code}\n    return {first}\n", problem) <= total // 2, problem.task_id


def test_outputs_vary() -> None:
    for problem in PROBLEMS:
        outputs = problem.tests["outputs"]
        most = Counter(map(repr, outputs)).most_common(1)[0][1]
        assert most <= (4 if isinstance(outputs[0], bool) else 3), problem.task_id


def test_problems_survive_json() -> None:
    for problem in PROBLEMS:
        assert json.loads(json.dumps(to_json(problem))) == to_json(problem)


def test_states_end_where_the_tokenizer_cuts() -> None:
    # A state that ends in a newline is a prefix that the model never saw.
    for problem in PROBLEMS:
        assert problem.code.endswith('"""')
        assert problem.code.startswith(f"def {problem.tests['fn_name']}(")
        assert problem.code in problem.prompt


def test_references_are_short() -> None:
    for problem in PROBLEMS:
        body = (problem.reference or "")[len(problem.code) :].strip().splitlines()
        assert 1 <= len(body) <= 6, problem.task_id


def fingerprint() -> str:
    text = json.dumps([to_json(p) for s in ("train", "heldout") for p in load_problems(DatasetConfig(), s)])
    return hashlib.sha256(text.encode()).hexdigest()


def test_same_problems_in_every_process() -> None:
    command = [sys.executable, "-c", "from tests.data.test_starter import fingerprint; print(fingerprint())"]
    prints = {
        subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": s}
        ).stdout.strip()
        for s in ("1", "2")
    }
    assert prints == {fingerprint()}


def test_another_seed_gives_other_problems() -> None:
    other = load_problems(DatasetConfig(seed=1), "train")
    assert [p.task_id for p in other] == [p.task_id for p in TRAIN]
    assert sum(a.tests != b.tests for a, b in zip(other, TRAIN, strict=True)) > 0.9 * len(TRAIN)


def test_limit_takes_a_seeded_subset_in_order() -> None:
    few = load_problems(DatasetConfig(train_limit=10), "train")
    more = load_problems(DatasetConfig(train_limit=40), "train")
    assert len(few) == 10
    assert [p for p in TRAIN if p in few] == few
    assert all(p in more for p in few)
    assert load_problems(DatasetConfig(train_limit=10, seed=3), "train") != few
    assert len(load_problems(DatasetConfig(train_limit=10), "heldout")) == len(HELDOUT)


def test_axes_and_cases() -> None:
    assert cases("a b", (1, 2), (3, 4)) == ({"a": 1, "b": 2}, {"a": 3, "b": 4})
    assert axes(c=cases("a b", (1, 2)), k=(5, 6)) == ({"a": 1, "b": 2, "k": 5}, {"a": 1, "b": 2, "k": 6})


def test_poor_families_are_refused() -> None:
    family = Family("poor", False, ("f",), "$n", "Return 1.", "return 1", lambda rng, _: [rng.randint(0, 99)])
    with pytest.raises(ValueError, match="family poor has 1 problems, not 2"):
        make_problems(family, 2, seed=0)
    with pytest.raises(ValueError, match="family poor: only 3 of 8 tests"):
        make_problems(family, 1, seed=0)
