"""The published benchmarks: their real files where they are at hand, their schemas and errors everywhere."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from restrl.config import DatasetConfig, SandboxConfig
from restrl.data import LOADERS, load_problems, registry
from restrl.data.apps import RULES
from restrl.data.apps import SOURCES as APPS_SOURCES
from restrl.data.apps import read as read_apps
from restrl.data.registry import load_split
from restrl.data.source import read_rows
from restrl.errors import UserError
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.grading.compare import Rules, same_output

FILES_ONLY = {"kodcode", "humaneval_x", "rest_rl"}  # not read from the hub
REAL = Path(__file__).parents[3] / "shared" / "data"


def real(name: str) -> str:
    path = REAL / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not on this machine")
    return str(path)


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("dataset", "file", "variant", "kinds", "count"),
    [
        ("humaneval", "humaneval", None, {"check"}, 164),
        ("humaneval_plus", "humanevalplus_originfmt", None, {"check"}, 164),
        ("mbpp", "mbpp", "splits", {"asserts"}, 500),
        ("mbpp", "mbpp", "all", {"asserts"}, 974),
        ("mbpp_sanitized", "mbpp_sanitized", None, {"asserts"}, 427),
        ("mbpp_sanitized", "mbpp_sanitized", "splits", {"asserts"}, 257),
        ("mbpp_plus", "mbppplus_originfmt", None, {"check"}, 378),
        ("bigcodebench", "bigcodebench_hf", None, {"unittest"}, 228),  # a fifth of 1140
        ("bigcodebench", "bigcodebench_hard", "instruct_hard", {"unittest"}, 148),
        ("ds1000", "ds1000", None, {"ds1000"}, 1000),
        ("apps", "apps", None, {"call", "stdio"}, 31),  # a fifth of 153, rounded up
    ],
)
def test_real_files(dataset: str, file: str, variant: str | None, kinds: set[str], count: int) -> None:
    config = DatasetConfig(name=dataset, path=real(file), variant=variant)
    problems = load_problems(config, "heldout")
    assert len(problems) == count
    assert {p.tests["kind"] for p in problems} <= kinds
    assert all(p.prompt and "\r" not in (p.reference or "") for p in problems)
    assert not any(p.code and p.code[-1].isspace() for p in problems)
    assert dataset == "apps" or all(p.reference for p in problems)  # some solutions there do not compile


@pytest.mark.parametrize(
    ("dataset", "variant"),
    [
        ("humaneval_plus", None),
        ("mbpp", "all"),
        ("mbpp_sanitized", None),
        ("mbpp_plus", None),
        ("bigcodebench", "complete_hard"),
        ("ds1000", None),
    ],
)
def test_benchmarks_without_train_split(dataset: str, variant: str | None) -> None:
    with pytest.raises(
        UserError, match=f"dataset={dataset}.* is held out: it is a benchmark without a train"
    ):
        load_problems(DatasetConfig(name=dataset, variant=variant), "train")


@pytest.mark.parametrize("dataset", ["mbpp", "mbpp_sanitized", "bigcodebench"])
def test_unknown_variant(dataset: str) -> None:
    with pytest.raises(UserError, match=rf"dataset.variant: 'hard' is not one of .* \(dataset={dataset}\)"):
        load_problems(DatasetConfig(name=dataset, variant="hard"), "heldout")


def test_offline_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach\nthe hub")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    for dataset in set(LOADERS) - {"starter", "humaneval", "jsonl", *FILES_ONLY}:
        with pytest.raises(UserError) as caught:
            load_problems(DatasetConfig(name=dataset), "heldout")
        assert "the hub cannot be read (ConnectionError: Couldn't reach the hub)" in str(caught.value)
        assert re.search(
            r"fetch .* of https://huggingface.co/datasets/\S+/tree/[0-9a-f]{40} ", str(caught.value)
        )
        assert "by dataset.path" in str(caught.value)


def test_rows_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(*args: Any, **fields: Any) -> list[dict[str, Any]]:
        asked.append((args, fields))
        return [apps_row(i, difficulty="interview" if i % 3 else "introductory") for i in range(1500)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    heldout = load_problems(DatasetConfig(name="apps"), "heldout")
    easy = sum("introductory" in p.task_id for p in heldout)
    assert (len(heldout), easy) == (500, 167)  # a third of 1500 are introductory: a third of 500
    file = "hf://datasets/codeparrot/apps@21e74ddf8de1a21436da12e3e653065c5213e9d1/test.jsonl"
    assert asked == [(("json",), {"data_files": file, "split": "train"})]


def apps_row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "problem_id": number,
        "question": "Print the sum.",
        "solutions": json.dumps(["print(3)"]),
        "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
        "difficulty": "interview",
        "starter_code": "",
    } | fields


def apps(tmp_path: Path, *rows: dict[str, Any]) -> list[Any]:
    path = write(tmp_path / "apps.jsonl", *rows)
    config = DatasetConfig(name="apps", path=path, heldout_path=path)
    return load_problems(config, "train")


def test_apps_tests(tmp_path: Path) -> None:
    call = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[False], [True]]}
    lists = {"fn_name": "f", "inputs": [[1], [2]], "outputs": [[1], [1, 2]]}
    lines = {"inputs": [["1", "2"]], "outputs": [["3", "4"]]}
    problems = apps(
        tmp_path,
        apps_row(0),
        apps_row(1, input_output=json.dumps(call), starter_code="def f(n):\n\t"),
        apps_row(2, input_output=json.dumps(lists), starter_code="def f(n):"),
        apps_row(3, input_output=json.dumps(lines)),
        apps_row(4, input_output=""),
        apps_row(5, input_output=json.dumps({"inputs": [], "outputs": []})),
    )
    assert [p.task_id for p in problems] == [f"apps/interview/{i}" for i in range(4)]
    tests = [p.tests for p in problems]
    rules = RULES["call"]
    assert tests[0] == {"kind": "stdio", "inputs": ["1 2\n"], "outputs": ["3\n"]} | RULES["stdio"]
    # values wrapped into lists of one
    assert tests[1] == {"kind": "call"} | call | {"outputs": [False, True]} | rules
    assert tests[2] == {"kind": "call"} | lists | rules  # real lists
    assert tests[3] == {"kind": "stdio", "inputs": ["1\n2"], "outputs": ["3\n4"]} | RULES["stdio"]
    assert problems[1].code == "def f(n):"
    assert problems[0].code == ""


def test_apps_reference_is_the_first_solution_that_compiles(tmp_path: Path) -> None:
    broken, first, second = "return 3", "print(3)", "print(1 + 2)"
    rows = [apps_row(0, solutions=json.dumps([broken, first, second])), apps_row(1, solutions="")]
    assert [p.reference for p in apps(tmp_path, *rows)] == [first, None]


def test_apps_fields_with_broken_json(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"apps.jsonl:2: input_output: not JSON in a string"):
        apps(tmp_path, apps_row(0), apps_row(1, input_output="{"))


def test_mbpp_setup_runs_after_the_solution_and_crlf_goes(tmp_path: Path) -> None:
    row = {
        "task_id": 20,
        "text": "Add one.",
        "code": "def f(x):\r\n  return x + 1",
        "test_setup_code": "root = f(1)",
        "test_list": ["assert root == 2"],
    }
    path = write(tmp_path / "mbpp.jsonl", row, row | {"task_id": 700}, row | {"task_id": 5})
    heldout = load_problems(DatasetConfig(name="mbpp", path=path), "heldout")
    train = load_problems(DatasetConfig(name="mbpp", path=path), "train")
    assert [p.task_id for p in heldout] == ["mbpp/20"]
    assert [p.task_id for p in train] == ["mbpp/700"]  # 5 is of the split for prompts
    assert heldout[0].tests == {"kind": "asserts", "asserts": ["assert root == 2"], "setup": "root = f(1)"}
    assert heldout[0].reference == "def f(x):\n  return x + 1"
    assert "assert root == 2" in heldout[0].prompt


def test_mbpp_plus_says_what_its_tests_find_out(tmp_path: Path) -> None:
    """The published assertion() of three problems computes whether the result is right, and nothing else."""
    test = (
        "def assertion(out, exp, atol):\n    if isinstance(out, bool):\n        exact_match = out == exp\n"
        "    else:\n        exact_match = exp == (out is not None)\n\n\n"
        "inputs = [[1], [2]]\nresults = [True, False]\n"
        "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(f(*inp), exp, 0)\n"
    )
    row = {"task_id": 794, "code": "", "prompt": "", "test_list": ["assert f(1)"], "test": test}
    config = DatasetConfig(name="mbpp_plus", path=write(tmp_path / "a.jsonl", row))
    (problem,) = load_problems(config, "heldout")
    for function, right in (
        (lambda x: x if x == 1 else None, True),
        (lambda x: x == 1, True),
        (lambda _x: None, False),
        (lambda _x: "text", False),
    ):
        try:
            exec(problem.tests["test"], {"f": function})
        except AssertionError:
            assert not right
        else:
            assert right


def test_mbpp_plus_leaves_out_the_input_that_asks_for_a_gigabyte() -> None:
    config = DatasetConfig(name="mbpp_plus", path=real("mbppplus_originfmt"))
    (problem,) = (p for p in load_problems(config, "heldout") if p.task_id == "mbpp_plus/255")
    line = next(text for text in problem.tests["test"].splitlines() if text.startswith("inputs = "))
    inputs = eval(line.removeprefix("inputs = "))
    assert len(inputs) == 111
    assert [["Dog", "Cat", "Bird", "Fish"], 77] in inputs
    assert [["Dog", "Cat", "CatBird", "Bird", "Fish"], 77] not in inputs


def test_mbpp_plus_finds_the_function(tmp_path: Path) -> None:
    test = "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(add(*inp), exp, 0)\n"
    row = {
        "task_id": 2,
        "prompt": "Add.",
        "code": "def add(): ...",
        "test_list": ["assert add()"],
        "test": test,
    }
    config = DatasetConfig(name="mbpp_plus", path=write(tmp_path / "a.jsonl", row))
    assert load_problems(config, "heldout")[0].tests == {"kind": "check", "test": test, "entry_point": "add"}
    config = DatasetConfig(name="mbpp_plus", path=write(tmp_path / "b.jsonl", row | {"test": "pass"}))
    with pytest.raises(UserError, match=r"b.jsonl:1: test: no line assertion\(function\(\*inp\), ...\)"):
        load_problems(config, "heldout")


def test_file_of_another_schema(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"task_id": 20})
    for dataset in set(LOADERS) - {"starter", "jsonl", "paper_mix", "paper"}:
        with pytest.raises(UserError, match=r"x.jsonl:1: \w+: (missing; this is not the schema of|must be)"):
            load_problems(DatasetConfig(name=dataset, path=path), "heldout")


def test_nothing_for_the_split(tmp_path: Path) -> None:
    row = {"task_id": 5, "text": "?", "code": "", "test_setup_code": "", "test_list": ["assert f()"]}
    path = write(tmp_path / "x.jsonl", row)
    with pytest.raises(UserError, match=r"x.jsonl: no problems for heldout in it"):
        load_problems(DatasetConfig(name="mbpp", path=path), "heldout")


def test_held_out_problems_of_several_data_sets(tmp_path: Path) -> None:
    """The parts' problems, told apart where their ids are equal; those with other tests are one family."""
    row = {"text": "?", "code": "def f(): pass", "test_setup_code": "", "test_list": ["assert f()"]}
    write(tmp_path / "mbpp.jsonl", *(row | {"task_id": number} for number in (11, 12)))
    rows = [row | {"prompt": "?", "test_imports": [], "task_id": number} for number in (11, 12)]
    write(tmp_path / "mbpp_sanitized.jsonl", *rows)
    parts = {
        "mbpp": DatasetConfig(name="mbpp", variant="all"),
        "mbpp_sanitized": DatasetConfig(name="mbpp_sanitized", variant="all"),
    }
    config = DatasetConfig(
        name="paper", path=str(tmp_path), parts=parts, average=[["mbpp", "mbpp_sanitized"]]
    )
    problems = load_problems(config, "heldout")
    assert len({problem.task_id for problem in problems}) == 4
    assert [problem.dataset for problem in problems] == ["mbpp"] * 2 + ["mbpp_sanitized"] * 2
    assert [problem.cluster for problem in problems] == ["family mbpp/11", "family mbpp/12"] * 2
    for name in parts:
        parts[name].heldout_limit = 1
    assert (
        len(load_problems(dataclasses.replace(config, heldout_limit=1), "heldout")) == 2
    )  # one of each part


def test_problems_of_a_part_that_cannot_be_judged_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"text": "?", "code": "def f(): pass", "test_setup_code": "", "test_list": ["assert f()"]}
    write(tmp_path / "mbpp.jsonl", *(row | {"task_id": number} for number in (11, 12)))
    monkeypatch.setattr(registry, "_fault", lambda problem: "broken" if "12" in problem.task_id else "")
    parts = {"mbpp": DatasetConfig(name="mbpp", variant="all")}
    loaded = load_split(DatasetConfig(name="paper", path=str(tmp_path), parts=parts), "heldout")
    assert [problem.task_id for problem in loaded.problems] == ["mbpp/mbpp/11"]
    assert loaded.unjudged == {"mbpp/mbpp/12": "broken"}
    assert loaded.others == ("mbpp/mbpp/12",)


def test_paper_mix(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no bigcodebench.jsonl or bigcodebench.jsonl.gz; dataset=paper_mix needs"
    ):
        load_problems(DatasetConfig(name="paper_mix", path=str(tmp_path)), "train")
    for part, file in (("bigcodebench", "bigcodebench_hf"), ("ds1000", "ds1000"), ("apps", "apps")):
        (tmp_path / f"{part}.jsonl.gz").symlink_to(real(file))
    config = DatasetConfig(name="paper_mix", path=str(tmp_path))
    train, heldout = load_problems(config, "train"), load_problems(config, "heldout")
    parts = {"bigcodebench": 1140, "ds1000": 1000, "apps": 153}
    assert {name: sum(p.dataset == name for p in train + heldout) for name in parts} == parts
    assert {p.dataset for p in heldout} == set(parts)
    assert not {p.task_id for p in train} & {p.task_id for p in heldout}


APPS_PROGRAMS = {  # source -> whether APPS' own grader takes it, and it is right
    "def f(x): return (x, x)": ([[1]], [[[1, 1]]], True),
    "def f(x): return [(x, (x,))]": ([[1]], [[[[1, [1]]]]], True),
    "def f(x): return {x: x}": ([[1]], [[{"1": 1}]], True),
    "def f(d): return d[1]": ([[{"1": 7}]], [[7]], True),
    "def f(d): return d['a']": ([[{"a": 7}]], [[7]], True),
    "def f(d, x): return d[x]": ([[{"1": 7}, 1]], [[7]], True),
    "def f(x: List[int]): return math.isqrt(x[0])": ([[[4]]], [[2]], True),
    "def f(x): return x / 2": ([[4]], [[2]], True),
    "def f(x): return int(np.sum(x))": ([[[1, 2]]], [[3]], True),
    "def f(x): return 1": ([[0]], [[True]], True),
    "def f(x): return [2, 1]": ([[0]], [[[1, 2]]], False),
    "def f(x): return 1  # of two": ([[0]], [[1, 2]], False),  # the first element
    "def f(x): return {2: 1}": ([[0]], [[{"1": 1}]], False),
    "def f(x): return 0.1 + 0.2": ([[0]], [[0.3]], False),
}
APPS_SCRIPTS = [
    ("print(1 / 3)", "0.33333333", True),
    ("print(2.0)", "2", True),
    ("print('1.5 2')", "1.500001 2.0", True),
    ("print(sqrt(4), Counter('aa')['a'])", "2.0 2", True),
    ("print(*map(int, ['2', '1']))", "1 2", False),  # the set of its words
    ("print(1); print(2)", "2\n1", False),
    ("print(1, 1)", "1", False),
    ("print(0.0004)", "0.0001", False),
    ("print(1000001)", "1000000", False),
    ("print(1); exit(1)", "1", False),
]


def test_apps_rules(tmp_path: Path) -> None:
    calls = [
        ({"fn_name": "f", "inputs": i, "outputs": o}, source, paid)
        for source, (i, o, paid) in APPS_PROGRAMS.items()
    ]
    scripts = [({"inputs": [""], "outputs": [out]}, source, paid) for source, out, paid in APPS_SCRIPTS]
    rows = [
        apps_row(i, input_output=json.dumps(tests), solutions=json.dumps([source]), starter_code="")
        for i, (tests, source, _) in enumerate(calls + scripts)
    ]
    problems = apps(tmp_path, *rows)
    with Sandbox(SandboxConfig(workers=2, test_seconds=10)) as sandbox:
        verdicts = sandbox.judge([(p.reference or "", p.tests) for p in problems])
    assert [v.reward == 1 for v in verdicts] == [paid for _, _, paid in calls + scripts]


def test_apps_solutions_are_judged_as_by_the_interpreter(tmp_path: Path) -> None:
    """Public solutions beyond the first ones, on their first input each; some are broken."""
    rows = read_rows(real("apps"), APPS_SOURCES["train"])
    by_id = {p.task_id.split("/")[-1]: p for p in read_apps(real("apps"))}
    choice = Random(0)
    programs, expected = [], []
    for row in rows:
        solutions = (row.parsed("solutions") or [])[4:24]
        problem = by_id.get(str(row.integer("problem_id")))
        if problem is None or problem.tests["kind"] != "stdio" or not solutions or choice.random() > 0.4:
            continue
        tests = problem.tests | {name: problem.tests[name][:1] for name in ("inputs", "outputs")}
        source = choice.choice(solutions)
        programs.append((source, tests))
        expected.append(printed(tmp_path, source, tests["inputs"][0]))
    with Sandbox(SandboxConfig(workers=2, test_seconds=20, program_seconds=40)) as sandbox:
        verdicts = sandbox.judge(programs)
    rules = Rules.of(RULES["stdio"])
    right = [
        output is not None and same_output(output, tests["outputs"][0], rules)
        for output, (_, tests) in zip(expected, programs, strict=True)
    ]
    assert len(right) > 30
    assert sum(right) > 20
    assert [v.reward == 1 for v in verdicts] == right


def printed(folder: Path, source: str, text: str) -> str | None:
    """What ``python program.py < input`` prints; None if it fails."""
    (folder / "program.py").write_text(source, newline="")
    (folder / "input").write_text(text, newline="")
    with open(folder / "input") as stdin:
        done = subprocess.run(
            [sys.executable, "program.py"],
            stdin=stdin,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=60,
        )
    return done.stdout if done.returncode == 0 else None
