"""Artifacts of several ranks: the first one writes, and all know the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from restrl.artifacts import RecordLog, Store
from restrl.errors import UserError
from restrl.ranks import Ranks
from restrl.records import Answer, Cost
from tests.thread_ranks import on_ranks

ANSWERS = [Answer(str(i), i, "x" * i) for i in range(7)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_artifact_of_all_ranks(tmp_path: Path, size: int) -> None:
    said: list[str] = []

    def run(ranks: Ranks):
        store = Store(tmp_path, said.append if ranks.first else pytest.fail, ranks)
        with store.open("s", {}, {}) as work:
            log = work.records(Answer)
            log.append(ranks.merge([ANSWERS[i] for i in ranks.share(range(7))]))
            log.truncate(5)
            assert len(log) == 5
            assert list(log.read()) == ANSWERS[:5]
            assert not work.done
            # what other ranks pass does not count
            artifact = work.finish(Cost(completions=ranks.rank + 1), {"rank": ranks.rank})
        with store.open("s", {}, {}) as work:
            assert work.done
            assert list(work.artifact.read(Answer)) == ANSWERS[:5]
        return artifact.manifest

    manifests = on_ranks(size, run)
    assert manifests == [manifests[0]] * size
    assert (manifests[0]["cost"]["completions"], manifests[0]["summary"]) == (1, {"rank": 0})
    (folder,) = (tmp_path / "artifacts").iterdir()
    assert {path.name for path in folder.iterdir()} - {".lock"} == {"manifest.json", "records.jsonl"}
    assert json.loads((folder / "manifest.json").read_text()) == manifests[0]
    assert said == []


def test_what_the_first_rank_cannot_read_or_write_is_an_error_of_all(tmp_path: Path) -> None:
    with Store(tmp_path).open("s", {}, {}) as work:
        (work.folder / "manifest.json").write_text("{")

    def opened(ranks: Ranks) -> str:
        with pytest.raises(UserError, match="not a readable manifest") as error:
            Store(tmp_path, ranks=ranks).open("s", {}, {}).__enter__()
        return str(error.value)

    assert len(set(on_ranks(2, opened))) == 1

    def appended(ranks: Ranks) -> int:
        log = RecordLog(tmp_path / "log", Answer, ranks)
        log.path = Path("/dev/full")
        with pytest.raises(UserError, match="No space left"):
            log.append(ANSWERS)
        return len(log)

    assert on_ranks(2, appended) == [0, 0]


def test_a_log_is_taken_up_by_another_number_of_ranks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    on_ranks(3, lambda ranks: RecordLog(path, Answer, ranks).append(ANSWERS[:4]))
    with open(path, "a") as file:
        file.write('{"torn')

    def run(ranks: Ranks) -> int:
        log = RecordLog(path, Answer, ranks)
        log.append(ANSWERS[len(log) :])
        return len(log)

    assert on_ranks(2, run) == [7, 7]
    assert list(RecordLog(path, Answer).read()) == ANSWERS
