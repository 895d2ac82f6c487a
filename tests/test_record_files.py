"""Files of records: read one by one, in any order, and for less than their JSON costs."""

import json
import timeit
import tracemalloc
from array import array
from dataclasses import dataclass

import pytest

from restrl.record_files import RecordLog
from restrl.records import Answer, Completion, Cost, Group, Ints, Outcome, Verdict, from_json, to_json

ANSWERS = [Answer("a", i, f"text {i}") for i in range(5)]


def test_records_are_read_one_by_one_and_in_any_order(tmp_path):
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.append(ANSWERS)
    records = log.read()
    log.append(ANSWERS[:1])
    assert len(records) == 5  # what was there when they were asked for
    assert list(records) == ANSWERS
    assert [records[i] for i in (3, 0, -1)] == [ANSWERS[3], ANSWERS[0], ANSWERS[4]]
    assert records[1:3] == ANSWERS[1:3]
    with pytest.raises(IndexError):
        records[5]


def test_reading_takes_the_memory_of_one_record(tmp_path):
    """Two hundred records of 100 kB each: all together they would be 20 MB."""
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.append([Answer(f"t{i}", 0, f"{i}" * 50_000) for i in range(200)])
    tracemalloc.start()
    try:
        assert sum(len(answer.text) for answer in log.read()) > 20_000_000
        assert len(RecordLog(log.path, Answer)) == 200
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


def test_records_cost_less_than_their_json():
    """Types are worked out once per class; it took six times as long as the JSON itself."""
    completion = Completion(tuple(range(300)), "x" * 900, (-0.5,) * 300, "stop")
    group = Group("t", tuple(range(300)), "", (completion,) * 16, (Verdict("passed", 1, 1, 1.0, 0.1),) * 16)
    line = json.dumps(to_json(group))
    data = json.loads(line)
    assert from_json(Group, data) == group

    def seconds(work):
        return min(timeit.repeat(work, number=5, repeat=7))

    assert seconds(lambda: from_json(Group, data)) < seconds(lambda: json.loads(line))


@dataclass(frozen=True)
class Odd:
    numbers: Ints
    some: tuple[Outcome, ...]
    one: Outcome | None = None
    words: tuple[str, ...] = ()


def test_every_kind_of_field_comes_back():
    outcome = Outcome(
        Answer("a", 0, "x", None, Cost(1, 2)), Verdict("failed", 0, 1, None, 0.5, "", ("exit",))
    )
    for record in (Odd(array("i", [1, 70000]), (outcome, outcome), outcome, ("a",)), Odd(array("i"), ())):
        back = from_json(Odd, json.loads(json.dumps(to_json(record))))
        assert back == record
        assert isinstance(back.numbers, array)


@pytest.mark.parametrize("change", [{"x": 1}, {"text": None}])
def test_a_field_too_many_or_too_few_is_an_error(change):
    data = {"task_id": "a", "sample": 0, "text": ""} | change
    if data["text"] is None:
        del data["text"]
    with pytest.raises(TypeError, match=r"has no field 'x'|missing 1 required positional argument: 'text'"):
        from_json(Answer, data)
