import gzip
import json

import pytest

from restrl.config import DecoderConfig, SamplingConfig
from restrl.decode.base import DecodeJob, Policy
from restrl.decode.registry import DECODERS, decode
from restrl.errors import UserError
from restrl.records import Answer, Completion, Problem

PROBLEMS = [Problem("a", "ask a", {}, code="def a():"), Problem("b", "ask b", {}, code="def b():")]


class Prompter:
    stop = ("```",)

    def encode(self, problem):
        return tuple(map(ord, problem.task_id)), problem.code

    def program(self, code, text):
        return f"import math\n{code}{text}"


class Engine:
    """Answers with the task, the sample's number and the seed."""

    def __init__(self):
        self.requests = []

    def settle(self):
        pass

    def generate(self, requests, progress=None):
        self.requests.extend(requests)
        if progress:
            progress(sum(r.n for r in requests))
        return [
            tuple(
                Completion((1,) * (i + 1), f" {chr(r.prompt_ids[0])}{i} # {r.seed}", (0.0,) * (i + 1), "stop")
                for i in range(r.n)
            )
            for r in requests
        ]


def job(config, problems=PROBLEMS, seed=0, progress=None):
    engine = Engine()
    return engine, DecodeJob(problems, config, seed, lambda: Policy(engine, Prompter()), progress)


def sampling(**changes):
    return SamplingConfig(**({"n": 2, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7} | changes))


def test_samples_become_programs_in_order():
    seen = []
    engine, work = job(DecoderConfig("sample", sampling=sampling(), k=[1, 2]), progress=seen.append)
    answers = decode(work)
    assert [(a.task_id, a.sample) for a in answers] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert answers[3].text == f"import math\ndef b(): b1 # {engine.requests[1].seed}"
    assert [(a.cost.completions, a.cost.model_tokens) for a in answers] == [(1, 1), (1, 2), (1, 1), (1, 2)]
    assert all(a.cost.seconds >= 0 and a.cost.verifier_calls == 0 and a.score is None for a in answers)
    assert engine.requests[0].seed != engine.requests[1].seed
    request = engine.requests[0]
    assert (request.n, request.temperature, request.top_p, request.max_tokens) == (2, 0.5, 0.9, 7)
    assert request.stop == ("```",)
    assert seen == [4]


def test_a_problems_samples_do_not_depend_on_its_neighbours():
    config = DecoderConfig("sample", sampling=sampling())
    both, alone, other = (
        [r.text for r in decode(job(config, problems, seed)[1]) if r.task_id == "b"]
        for problems, seed in ((PROBLEMS, 0), (PROBLEMS[1:], 0), (PROBLEMS, 1))
    )
    assert both == alone
    assert both != other


def test_greedy_takes_one_answer_whatever_the_sampling_says():
    engine, work = job(DecoderConfig("greedy", sampling=sampling(n=5)))
    assert [(a.task_id, a.sample) for a in decode(work)] == [("a", 0), ("b", 0)]
    assert {(r.n, r.temperature, r.top_p, r.max_tokens) for r in engine.requests} == {(1, 0.0, 1.0, 7)}


def test_bad_configurations_are_told():
    with pytest.raises(
        UserError, match=r"decoder\.name: 'beam' is none of best_of_n, greedy, mcts, replay, sample"
    ):
        decode(job(DecoderConfig("beam"))[1])
    with pytest.raises(
        UserError, match=r"decoder\.k: pass@8 needs as many samples, and decoder\.sampling\.n is 2"
    ):
        decode(job(DecoderConfig("sample", sampling=sampling(), k=[1, 8]))[1])
    with pytest.raises(UserError, match=r"decoder\.k: 0 is no number of samples; each k is at least 1"):
        decode(job(DecoderConfig("sample", sampling=sampling(), k=[0]))[1])
    assert set(DECODERS) == {"greedy", "sample", "best_of_n", "mcts", "replay"}


def no_model():
    raise AssertionError("replay loads no model")


def replayed(tmp_path, text, problems=PROBLEMS):
    path = tmp_path / "samples.jsonl"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return decode(DecodeJob(problems, DecoderConfig("replay", path=str(path)), 0, no_model))


def test_replay_reads_completions_and_solutions(tmp_path):
    answers = replayed(
        tmp_path,
        '{"task_id": "b", "completion": " return 1"}\n\n'
        '{"task_id": "a", "solution": "x = 1", "model": "m"}\r\n'
        '{"task_id": "b", "completion": ""}',
    )
    assert answers == [
        Answer("a", 0, "x = 1"), Answer("b", 0, "def b(): return 1"), Answer("b", 1, "def b():"),
    ]  # fmt: skip


def test_completions_follow_the_published_prompt_byte_for_byte(tmp_path):
    published = 'def a():\n    """A."""\n\n'
    problems = [
        Problem("a", "ask a", {}, code=published.rstrip(), opening=published),
        Problem("b", "", {}, code="x"),
    ]
    empty = Problem("c", "ask c", {}, code="def c():", opening="")
    text = "".join(json.dumps({"task_id": task, "completion": "    return 1\n"}) + "\n" for task in "abc")
    assert [answer.text for answer in replayed(tmp_path, text, [*problems, empty])] == [
        published + "    return 1\n", "x    return 1\n", "    return 1\n",
    ]  # fmt: skip


def test_replay_finds_ids_as_other_tools_write_them(tmp_path):
    problems = [Problem(f"mbpp_plus/{n}", "", {}) for n in (2, 20)]
    asked = ("Mbpp/2", 20, "2")
    text = "\n".join(json.dumps({"task_id": task, "solution": str(i)}) for i, task in enumerate(asked))
    assert replayed(tmp_path, text, problems) == [
        Answer("mbpp_plus/2", 0, "0"), Answer("mbpp_plus/2", 1, "2"), Answer("mbpp_plus/20", 0, "1"),
    ]  # fmt: skip
    with pytest.raises(
        UserError, match=r"samples\.jsonl:1: task_id: '2' may be 'a/2' or 'b/2'; write the whole"
    ):
        replayed(
            tmp_path, '{"task_id": "2", "solution": ""}', [Problem("a/2", "", {}), Problem("b/2", "", {})]
        )
    with pytest.raises(UserError, match=r"task_id: 'HumanEval/2' is none of the 2 problems"):
        replayed(tmp_path, '{"task_id": "HumanEval/2", "solution": ""}', problems)


def test_replay_leaves_out_samples_of_problems_that_are_not_judged(tmp_path):
    path = tmp_path / "samples.jsonl.gz"
    path.write_bytes(
        gzip.compress(b'{"task_id": "a", "completion": ""}\n{"task_id": "b", "completion": ""}\n')
    )
    config = DecoderConfig("replay", path=str(path))
    assert [a.task_id for a in decode(DecodeJob(PROBLEMS[1:], config, 0, no_model, others=["a"]))] == ["b"]
    with pytest.raises(UserError, match=r"samples\.jsonl\.gz has no sample of the 0 problems to judge"):
        decode(DecodeJob([], config, 0, no_model, others=["a", "b"]))
    with pytest.raises(UserError, match=r"samples\.jsonl\.gz:1: task_id: 'a' is none of the 1 problems"):
        decode(DecodeJob(PROBLEMS[1:], config, 0, no_model))
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(
        UserError, match=r"decoder\.path: cannot read .*samples\.jsonl\.gz: Compressed file ended"
    ):
        decode(DecodeJob(PROBLEMS, config, 0, no_model))


GOOD = '{"task_id": "a", "completion": ""}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "{", r"samples\.jsonl:2: not JSON \("),
        (GOOD.encode() + b'{"task_id": "\xff"}', r"samples\.jsonl:2: not JSON \("),
        (GOOD + "\n[]", r"samples\.jsonl:3: a sample is a JSON object, not list"),
        ('{"completion": ""}', r"samples\.jsonl:1: task_id: missing"),
        ('{"task_id": 1.5, "completion": ""}', r"samples\.jsonl:1: task_id: has to be a string, not float"),
        ('{"task_id": true, "completion": ""}', r"samples\.jsonl:1: task_id: has to be a string, not bool"),
        ('{"task_id": 1, "completion": ""}', r"samples\.jsonl:1: task_id: 1 is none of the 2 problems"),
        (
            GOOD + '{"task_id": "c", "completion": ""}',
            r"samples\.jsonl:2: task_id: 'c' is none of the 2 problems .* \(e\.g\. 'a'\)",
        ),
        ('{"task_id": "a"}', r"samples\.jsonl:1: completion: .* neither completion nor solution"),
        (
            '{"task_id": "a", "completion": "", "solution": ""}',
            r"samples\.jsonl:1: .* both completion and solution",
        ),
        (
            '{"task_id": "a", "solution": null}',
            r"samples\.jsonl:1: solution: has to be a string, not NoneType",
        ),
        ("\n", r"decoder\.path: .*samples\.jsonl has no sample"),
    ],
)
def test_replay_names_file_line_and_field(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        replayed(tmp_path, text)


def test_replay_needs_a_file(tmp_path):
    with pytest.raises(UserError, match=r"decoder\.path: decoder=replay needs a file of samples"):
        decode(DecodeJob(PROBLEMS, DecoderConfig("replay"), 0, no_model))
    missing = DecoderConfig("replay", path=str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match=r"decoder\.path: cannot read .*none\.jsonl: No such file"):
        decode(DecodeJob(PROBLEMS, missing, 0, no_model))
