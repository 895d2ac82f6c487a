"""What tests may look like: every field of every kind, and what each kind of mistake says."""

from __future__ import annotations

import re
from typing import Any

import pytest
from omegaconf import OmegaConf

from restrl.errors import UserError
from restrl.testforms import FORMS, check_tests

CALL = {"kind": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": [2, 3]}
STDIO = {"kind": "stdio", "inputs": ["1"], "outputs": ["2"]}
ASSERTS = {"kind": "asserts", "asserts": ["assert f(1) == 2"]}
CHECK = {"kind": "check", "test": "def check(c): pass", "entry_point": "f"}
UNITTEST = {"kind": "unittest", "test": "class TestCases: pass"}
DS1000 = {"kind": "ds1000", "code_context": "def test_execution(solution): ..."}
PYTEST = {"kind": "pytest", "test": "def test_f(): assert f(1) == 2"}
BARE: list[dict[str, Any]] = [CALL, STDIO, ASSERTS, CHECK, UNITTEST, DS1000, PYTEST]


@pytest.mark.parametrize("tests", BARE, ids=lambda tests: tests["kind"])
def test_required_fields_are_enough_and_each_is_needed(tests: dict[str, Any]) -> None:
    assert check_tests(tests, "p") == tests
    assert set(tests) == {"kind", *FORMS[tests["kind"]].required}
    for name in FORMS[tests["kind"]].required:
        less = {key: value for key, value in tests.items() if key != name}
        with pytest.raises(UserError, match=rf"^p: tests\.{name}: missing; {tests['kind']} tests need "):
            check_tests(less, "p")


@pytest.mark.parametrize(
    "tests",
    [
        CALL | {"atol": 0, "tuples_as_lists": True, "text_keys": True, "numbers_by_value": False},
        CALL | {"rtol": 1e-5, "preamble": "import math"},
        CALL | {"inputs": [(1,), [2]], "outputs": (2, 3)},  # of a caller, not of a file
        STDIO | {"atol": 1e-6, "inputs": [["1", "2"]]},
        STDIO | {"rtol": 0, "numbers_by_value": True, "preamble": ""},
        ASSERTS | {"setup": "import math", "names": ["sum"]},
        ASSERTS | {"given": "class Node: pass"},
        CHECK | {"setup": "import math\r\nx = 1", "given": "inf = 1\r\n"},
        *(CHECK | {"entry_point": name} for name in ("f", "m.f", "Solution().f", "A(1, k=[-2]).b.c", "A.b")),
        CALL | {"fn_name": "Solution().f"},
        CHECK | {"test": "assert Solution().f(1) == 2", "entry_point": "Solution().f"},
        UNITTEST | {"entry_point": "task_func"},
        PYTEST | {"entry_point": "f", "setup": "import math"},
    ],
)
def test_optional_fields(tests: dict[str, Any]) -> None:
    assert check_tests(tests, "p") == tests


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        (CALL | {"atol": True}, "tests.atol: must be a finite number that is 0 or more"),
        (CALL | {"atol": -1}, "tests.atol: must be a finite"),
        (STDIO | {"atol": float("nan")}, "tests.atol: must be a finite"),
        (CALL | {"tuples_as_lists": 1}, "tests.tuples_as_lists: must be true or false"),
        (CALL | {"preamble": "import"}, "tests.preamble is not Python: "),
        (CALL | {"preamble": ["import math"]}, "tests.preamble: must be a string"),
        (CALL | {"text_keys": None}, "tests.text_keys: must be true or false"),
        (CALL | {"rtol": "1e-5"}, "tests.rtol: must be a finite"),
        (STDIO | {"numbers_by_value": 1}, "tests.numbers_by_value: must be true or false"),
        (STDIO | {"text_keys": True}, "tests.text_keys: unknown field; stdio tests have inputs, outputs"),
        (CALL | {"setup": ""}, "tests.setup: unknown field; call tests have fn_name, inputs, outputs, atol"),
        (STDIO | {"inputs": [[1]]}, "tests.inputs: must be a list of strings, or of lists of lines"),
        (ASSERTS | {"names": "sum"}, "tests.names: must be a list of names"),
        (ASSERTS | {"names": ["a b"]}, "tests.names: must be a list of names"),
        (ASSERTS | {"asserts": ["assert 1", "assert ("]}, "tests.asserts[1] is not Python: '(' was never"),
        (CHECK | {"setup": "import"}, "tests.setup is not Python: "),
        (CHECK | {"entry_point": None}, "tests.entry_point: must be the name of a function"),
        *(
            (
                CHECK | {"entry_point": text},
                "tests.entry_point: must be the name of a function, as in f, module.f",
            )
            for text in (
                "f g",
                "f[0]",
                "(lambda: 1)",
                "A(x).f",
                "A(f()).f",
                "f + g",
                "f.",
                "1",
                "f\n;g",
                "",
                "f(*a)",
            )
        ),
        (
            CALL | {"fn_name": "__import__('os').x or f"},
            "tests.fn_name: must be the name of a function, as in",
        ),
        (CHECK | {"given": "class"}, "tests.given is not Python: "),
        (
            CHECK | {"test": "assert g(1)", "entry_point": "A().f"},
            "tests.test: must define check(candidate) or call A",
        ),
        (UNITTEST | {"test": "class TestCases"}, "tests.test is not Python: "),
        (DS1000 | {"code_context": "\0"}, "tests.code_context is not Python: "),
        ([], "tests: a problem without tests; give an object whose kind is one of call, stdio"),
        (
            {"kind": ["call"]},
            "tests.kind: ['call'] is not one of call, stdio, asserts, check, unittest, ds1000",
        ),
    ],
)
def test_mistakes_are_named(tests: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"problem 3: {message}")):
        check_tests(tests, "problem 3")


def test_mappings_become_plain() -> None:
    plain = check_tests(OmegaConf.create(CHECK), "p")
    assert type(plain) is dict
    assert plain == CHECK


@pytest.mark.filterwarnings("error")
def test_old_escapes_in_tests_warn_nobody() -> None:
    check_tests(CHECK | {"test": "def check(c): assert c('\\d')"}, "p")
