"""decode.py and train.py with engine=openai, against a server on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from restrl.model.tiny import tiny_tokenizer
from tests.engine.models import TRAILING_SPLIT
from tests.engine.openai.fake import VLLM, Fake, cut, dripping, serving, status
from tests.stages.conftest import SMALL, Workplace
from tests.stages.processes import ROOT, Strike, artifacts, never, timeless
from tests.stages.test_decode import check_files, heldout

pytestmark = pytest.mark.timeout(400)  # a busy machine is no failure
NO_MODEL = never("restrl.stages.resources:load_model")
KEY = "sk-restrl-0123456789abcdef"
LONG = ("dataset.max_tokens=30", "mcts.iterations=2")


@contextmanager
def server(**settings: object) -> Iterator[tuple[Fake, tuple[str, ...]]]:
    """A server, and the overrides with which a run samples from it."""
    with serving(Fake(**settings)) as fake:
        yield fake, ("engine=openai", f"engine.base_url={fake.url}", "engine.concurrency=3", *LONG)


def test_sample_judges_what_the_server_says(workplace: Workplace) -> None:
    with server() as (fake, chosen):
        done = workplace.decode(*chosen, strikes=(NO_MODEL,))
        assert (done.code, done.err) == (0, "")
        verdicts = check_files(workplace, dict.fromkeys(heldout(workplace), 2))
        assert {row["reward"] for row in verdicts} == {1.0}  # "es", and a line that defines the name
        assert f"engine: served at {fake.url}: prompts as token ids, token ids, log-prob" in done.out
        assert len(fake.sampled) == 4  # a request per problem, both samples in it
        answers = timeless(workplace.lines("answers.jsonl"))
        asked = len(fake.seen)
        again = workplace.decode(*chosen, strikes=(NO_MODEL,))
        assert again.code == 0
        assert len(fake.seen) == asked + 1  # which model is served decides whether it was done before
        assert timeless(workplace.lines("answers.jsonl")) == answers
    done_before = workplace.decode(*chosen, "engine.model=served", strikes=(NO_MODEL,))
    assert done_before.code == 0  # named, it needs no server
    with server() as (_, elsewhere):  # nor does the address matter
        assert workplace.decode(*elsewhere, "engine.timeout=5", "engine.retries=0").code == 0
        assert len(artifacts(workplace.outputs, "decode_samples")) == 1
    with server(models=("other",)) as (other, elsewhere):
        assert workplace.decode(*elsewhere).code == 0
        assert len(artifacts(workplace.outputs, "decode_samples")) == 2
        assert other.sampled


@pytest.mark.parametrize("kind", ["text", "chat", "whole answers"])
def test_servers_that_offer_less(workplace: Workplace, kind: str) -> None:
    answer = None
    if kind == "whole answers":
        answer = lambda *_: "Here:\n```python\ndef f(y):\n    return True\n```"  # noqa: E731
    apis = ("completions",) if kind == "text" else ("chat",)
    refuses = {"token prompts", *VLLM} if kind != "chat" else set()
    with server(apis=apis, refuses=refuses, answer=answer) as (_, chosen):
        done = workplace.decode(*chosen, "decoder=best_of_n", "decoder.k=[1]", "scorer=verifier")
        assert (done.code, done.err) == (0, "")
        rows = workplace.lines("verdicts.jsonl")
        assert {row["reward"] for row in rows} == {1.0}
        search = workplace.decode(
            *chosen, "decoder=mcts", "decoder.k=[1]", "decoder.mcts.iterations=2", "scorer=verifier"
        )
    if kind != "whole answers":
        assert (search.code, search.err) == (0, "")
        assert {row["reward"] for row in workplace.lines("verdicts.jsonl")} == {1.0}
    else:
        assert search.code == 2
        assert search.err == (
            "error: decoder=mcts cannot use engine=openai, which gives only whole answers, since its server "
            "continues none; use engine=hf\n"
        )


def test_value_targets_are_collected(workplace: Workplace) -> None:
    with server() as (_, chosen):
        done = workplace.train("stage=collect", *chosen)
        assert (done.code, done.err) == (0, "")
        assert "value targets" in done.out
        sampled = workplace.train("stage=sample", *chosen)
        assert (sampled.code, sampled.err) == (0, "")


@pytest.mark.parametrize("stage", ["rest_grpo", "grpo", "rest_rl"])
def test_what_trains_is_refused_before_the_server_is_asked(workplace: Workplace, stage: str) -> None:
    with server() as (fake, chosen):
        done = workplace.train(f"stage={stage}", *chosen)
        assert done.code == 2
        assert done.err.startswith(
            "error: engine=openai cannot load the weights of a policy in training, so it samples, collects "
            "and decodes, but does not train; use engine=hf"
        )
        assert done.err.count("\n") == 1
        assert fake.seen == []


def test_a_server_that_fails_ends_in_a_line_and_what_was_sampled_is_kept(workplace: Workplace) -> None:
    with server() as (fake, chosen):
        fake.faults, fake.faulty_from = [status(500), cut] * 2, 2
        done = workplace.decode(*chosen, "engine.retries=1", "engine.concurrency=1")
        assert done.code == 2
        task_id = heldout_ids(workplace)[2]
        assert done.err.startswith(
            f"error: engine=openai: task_id '{task_id}': {fake.url}/completions: 2 tries"
        )
        assert done.err.count("\n") == 1
        before = len(fake.sampled)
        fake.faults = []
        assert workplace.decode(*chosen, "engine.retries=1", "engine.concurrency=1").code == 0
        assert len(fake.sampled) == before + 2  # the chunk of two problems that had failed
    check_files(workplace, dict.fromkeys(heldout(workplace), 2))


def heldout_ids(workplace: Workplace) -> list[str]:
    """The held-out problems in the order of a run."""
    with server() as (_, chosen):
        assert workplace.decode(*chosen, f"paths.outputs={workplace.folder / 'others'}").code == 0
    return heldout(workplace)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_leaves_at_once(workplace: Workplace, number: int) -> None:
    """The third request is never answered."""
    strike = Strike("restrl.engine.openai.engine:OpenAiEngine._sample", number, call=3)
    with server() as (fake, chosen):
        fake.faults, fake.faulty_from = [dripping] * 100, 2
        done = workplace.decode(*chosen, "engine.concurrency=1", strikes=(strike,))
        if number == signal.SIGINT:
            said = "interrupted: the same command goes on where this one stopped\n"
            assert (done.code, done.err) == (130, said)
        else:
            assert done.code == -signal.SIGTERM
        fake.faults = []
        before = len(fake.sampled)
        assert workplace.decode(*chosen, "engine.concurrency=1").code == 0
        assert len(fake.sampled) == before + 2  # the second chunk
    check_files(workplace, dict.fromkeys(heldout(workplace), 2))


def test_the_key_appears_nowhere(workplace: Workplace) -> None:
    """In no file, no output and no error, also when the server repeats it, and whatever is logged."""

    def decode(*overrides: str) -> subprocess.CompletedProcess[str]:
        """A process with an environment of its own."""
        folder = workplace.folder
        places = (f"dataset.path={folder / 'problems.jsonl'}", f"paths.outputs={workplace.outputs}")
        command = [sys.executable, "decode.py", *SMALL, *places, "hydra.verbose=true", *overrides]
        environment = {**os.environ, "RESTRL_TEST_KEY": KEY, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        (folder / f"console{len(list(folder.iterdir()))}").write_text(done.stdout + done.stderr)
        return done

    echo = status(500, f"you sent Bearer {KEY}")
    with server(key=KEY) as (fake, chosen):
        fake.faults = [echo]
        chosen = (*chosen, "engine.api_key_env=RESTRL_TEST_KEY")
        assert decode(*chosen).returncode == 0
        fake.faults = [echo] * 20
        failed = decode(*chosen, "engine.retries=1", "seed=1")
        assert failed.returncode == 2
        assert "you sent Bearer [key]" in failed.stderr
        refused = decode(*chosen[:-1], "seed=2")
        assert refused.returncode == 2
        assert "engine.api_key_env names the environment variable" in refused.stderr
        assert fake.seen[0].headers["Authorization"] == f"Bearer {KEY}"
    files = [path for path in workplace.folder.rglob("*") if path.is_file()]
    assert any(path.name == "manifest.json" for path in files)
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_key_in_place_of_its_name_is_not_printed(workplace: Workplace) -> None:
    with server() as (fake, chosen):
        done = workplace.decode(*chosen, f"engine.api_key_env={KEY}")
        assert done.code == 2
        assert KEY not in done.err + done.out
        assert fake.seen == []


def test_settings_that_cannot_be_right(workplace: Workplace) -> None:
    for overrides, said in (
        (
            ("engine=openai", "engine.base_url=null"),
            "error: engine.base_url: engine=openai needs the address",
        ),
        (
            ("engine=openai", "engine.api=chats"),
            "error: engine.api=chats: must be one of auto, completions, chat",
        ),
        (
            ("engine=openai", "engine.batch_size=4"),
            "error: engine.batch_size=4: engine=openai does not read it",
        ),
        (("engine.base_url=http://x/v1",), "error: engine.base_url=http://x/v1: engine=hf does not read it"),
        (
            ("engine=openai", "engine.base_url=http://127.0.0.1:9/v1"),
            "error: engine=openai: http://127.0.0.1:9/v1",
        ),
    ):
        done = workplace.decode(*overrides)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert done.err.startswith(said)


def test_a_server_with_another_tokenizer_is_talked_to_in_its_own_chat(workplace: Workplace) -> None:
    other = tiny_tokenizer(TRAILING_SPLIT)
    with server(tokenizer=other) as (fake, chosen):
        done = workplace.decode(*chosen)
        assert (done.code, done.err) == (0, "")
        assert {seen.path for seen in fake.sampled} == {"/v1/chat/completions"}
