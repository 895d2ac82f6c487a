"""Families of starter problems, and how their problems are made.

A family is a template with parameters: a docstring, a reference body and a function that samples inputs.
The reference gives the expected outputs.  All random choices use a generator that is passed in, and no code
iterates over a set, so a seed gives the same problems in every process.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from string import Template
from typing import Any

from restrl.records import Problem
from restrl.seeds import derive_seed

Options = Mapping[str, Any]
Inputs = Callable[[Random, Options], list[Any]]  # one argument list of the function

TESTS = 8  # call tests of a problem
MAX_SAME = 3  # tests of a problem with the same expected output (4 if the outputs are True and False)
MAX_UNCHANGED = 4  # tests of a problem whose expected output is the first argument
TRIES = 2000  # sampled inputs after which a family is rejected because it cannot fill TESTS

# Names that a template may use for its arguments; one of each is chosen at random per problem.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "s": ("s", "text", "string"),
    "nums": ("nums", "numbers", "lst"),
    "n": ("n", "num", "number"),
    "d": ("d", "data", "scores"),
    "rows": ("rows", "lists", "matrix"),
}


@dataclass(frozen=True)
class Family:
    """Templates in ``string.Template`` syntax; ``$fn`` is the function's name, see also ``ARGUMENTS``."""

    name: str
    heldout: bool
    names: tuple[str, ...]  # templates of the function's name
    args: str  # the argument list
    doc: str  # one line
    body: str  # at most six lines, without indentation of the function
    inputs: Inputs
    options: tuple[Options, ...] = ({},)  # parameters that vary between the problems


def axes(**values: tuple[Any, ...]) -> tuple[Options, ...]:
    """The product of the axes; a value that is a mapping stands for all its keys."""
    result = []
    for combination in itertools.product(*values.values()):
        options: dict[str, Any] = {}
        for key, value in zip(values, combination, strict=True):
            options.update(value if isinstance(value, Mapping) else {key: value})
        result.append(options)
    return tuple(result)


def cases(keys: str, *rows: tuple[Any, ...]) -> tuple[Options, ...]:
    """A table: one option mapping per row, its columns named by ``keys``."""
    return tuple(dict(zip(keys.split(), row, strict=True)) for row in rows)


def make_problems(family: Family, count: int, seed: int) -> list[Problem]:
    """The first ``count`` problems of a family; no two have the same text.

    Raises ValueError if the family's options and names do not yield as many.
    """
    rng = Random(derive_seed(seed, "starter", family.name))
    options, names = list(family.options), list(family.names)
    rng.shuffle(options)
    rng.shuffle(names)
    if count > len(options) * len(names):
        raise ValueError(f"family {family.name} has {len(options) * len(names)} problems, not {count}")
    problems = []
    for i in range(count):
        round_, place = divmod(i, len(options))
        chosen = {**options[place], "fn": names[(round_ + place) % len(names)]}
        problems.append(_make(family, i, chosen, rng))
    return problems


def _make(family: Family, index: int, options: Options, rng: Random) -> Problem:
    fields = {key: rng.choice(pool) for key, pool in ARGUMENTS.items()} | dict(options)
    fn_name = _fill(options["fn"], fields)
    head = f'def {fn_name}({_fill(family.args, fields)}):\n    """{_fill(family.doc, fields)}"""'
    body = "\n".join("    " + line for line in _fill(family.body, fields).splitlines())
    reference = f"{head}\n{body}\n"
    return Problem(
        task_id=f"starter/{family.name}/{index}",
        prompt=f"Complete this Python function.\n\n```python\n{head}\n```",
        code=head,
        tests=sample_tests(family, options, reference, fn_name, rng),
        reference=reference,
        dataset="starter",
        family=family.name,
    )


def _fill(template: str, fields: Options) -> str:
    # Options may contain placeholders too ("$n % 2 == 0"), so fill a second time.
    text = Template(template).substitute(fields)
    return Template(text).substitute(fields) if "$" in text else text


def sample_tests(
    family: Family, options: Options, reference: str, fn_name: str, rng: Random
) -> dict[str, Any]:
    """``TESTS`` call tests with distinct inputs, such that no trivial program passes all of them.

    At most ``MAX_SAME`` outputs are equal, and at most ``MAX_UNCHANGED`` equal the first argument.  Raises
    ValueError if the family's inputs do not allow it.
    """
    namespace: dict[str, Any] = {}
    exec(compile(reference, f"<{family.name}>", "exec"), namespace)
    inputs: list[Any] = []
    outputs: list[Any] = []
    shown: list[str] = []
    for _ in range(TRIES):
        args = family.inputs(rng, options)
        if args in inputs:
            continue
        output = namespace[fn_name](*json.loads(json.dumps(args)))  # a copy: the reference may change it
        text = repr(output)
        same = shown.count(text)
        unchanged = sum(a[0] == o for a, o in zip(inputs, outputs, strict=True))
        if same >= MAX_SAME + isinstance(output, bool) or (output == args[0] and unchanged >= MAX_UNCHANGED):
            continue
        inputs.append(args)
        outputs.append(output)
        shown.append(text)
        if len(inputs) == TESTS:
            return {"kind": "call", "fn_name": fn_name, "inputs": inputs, "outputs": outputs}
    raise ValueError(f"family {family.name}: only {len(inputs)} of {TESTS} tests with {dict(options)}")
