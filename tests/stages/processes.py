"""The real ``train.py`` and ``decode.py`` in processes of their own, struck down at a chosen moment.

A fork server imports torch once; each run is a fork of it, so that it starts in a fraction of a second.
"""

from __future__ import annotations

import functools
import importlib
import json
import multiprocessing
import os
import runpy
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["restrl.cli", "restrl.stages.run", "tensorboard.compat.tensorflow_stub"])
SECONDS = 300.0  # that a run may take, also on a busy machine
CLOCK = {"seconds", "tokens_per_second", "places"}  # keys of results that no two runs share


@dataclass(frozen=True)
class Strike:
    """``blow`` falls when the process calls ``target`` ("module:Class.method") the ``call``-th time."""

    target: str
    blow: int | OSError = signal.SIGKILL  # a signal, or what the call raises
    call: int = 1


def never(target: str) -> Strike:
    """A run that calls ``target`` does not live to tell."""
    return Strike(target)


@dataclass(frozen=True)
class Run:
    code: int  # exit code; -9 = killed
    out: str
    err: str


def run(script: str, folder: Path, *overrides: str, strikes: tuple[Strike, ...] = ()) -> Run:
    """Runs ``python script overrides`` from the repository; ``folder`` takes what it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    process = CONTEXT.Process(target=_child, args=(script, list(overrides), folder, strikes))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f"{script} {overrides}: still running after {SECONDS} s")
    assert process.exitcode is not None
    return Run(process.exitcode, (folder / "out").read_text(), (folder / "err").read_text())


def _child(script: str, overrides: list[str], folder: Path, strikes: tuple[Strike, ...]) -> None:
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server's children ignore it
    os.chdir(ROOT)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    for strike in strikes:
        _arm(strike)
    sys.argv = [script, *overrides]
    runpy.run_path(script, run_name="__main__")


def _arm(strike: Strike) -> None:
    module, _, path = strike.target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    original, calls = getattr(owner, name), 0

    @functools.wraps(original)
    def struck(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == strike.call and isinstance(strike.blow, OSError):
            raise strike.blow
        if calls == strike.call:
            os.kill(os.getpid(), strike.blow)
        return original(*args, **options)

    setattr(owner, name, struck)


def write_problems(path: Path, names: str = "abcdefgh") -> Path:
    """Problems that a model of random weights half solves.

    The state ends within a name: one token more and, if that is a letter or a digit, the program is valid and
    right where the comparison alone decides (2 to 3 of 4 tests); anything else is a syntax error (0 of 4).
    """
    lines = [
        {
            "task_id": name,
            "prompt": f"Say yes, {name}.",
            "code": f"def f(x):\n    return x < {index % 2 + 3} or y",
            "tests": {
                "kind": "call", "fn_name": "f", "inputs": [[1], [2], [3], [9]], "outputs": [True] * 4,
            },
        }
        for index, name in enumerate(names)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def timeless(data: Any) -> Any:
    """``data`` without what a clock or a place decides."""
    if isinstance(data, dict):
        return {k: timeless(v) for k, v in data.items() if k not in CLOCK and not k.startswith("seconds_")}
    return [timeless(item) for item in data] if isinstance(data, list) else data


def artifacts(outputs: Path, step: str = "") -> set[str]:
    """Names of the artifacts' folders of a step: step-fingerprint."""
    return {path.name for path in (outputs / "artifacts").glob(f"{step}*")}


def contents(outputs: Path) -> dict[str, Any]:
    """Every record, number and weight below ``outputs/artifacts``, by file."""
    found: dict[str, Any] = {}
    for path in sorted((outputs / "artifacts").rglob("*")):
        name = str(path.relative_to(outputs))
        if path.suffix == ".jsonl":
            found[name] = [timeless(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.suffix == ".safetensors" or path.name == "tokenizer.json":
            found[name] = path.read_bytes()
        elif path.name == "manifest.json":
            manifest = timeless(json.loads(path.read_text()))
            found[name] = {k: v for k, v in manifest.items() if k not in ("started", "finished", "machine")}
            if "files" in manifest:  # the length of a line depends on the seconds that stand in it
                found[name]["files"] = sorted(manifest["files"])
    return found
