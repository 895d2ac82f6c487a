import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restrl.artifacts import RecordLog, Store, fingerprint
from restrl.config import SamplingConfig
from restrl.errors import UserError
from restrl.records import Answer, Cost

ROOT = Path(__file__).parent.parent
ANSWERS = [Answer("a", i, f"text {i}") for i in range(5)]


def store(tmp_path, say=print):
    return Store(tmp_path, say)


# --- fingerprints


def test_fingerprint_ignores_the_order_of_keys_only():
    mark = fingerprint("sample", {"a": 1, "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 0)
    assert fingerprint("sample", {"b": {"d": None, "c": [1, 2]}, "a": 1}, {"y": "2", "x": "1"}, 0) == mark
    others = [
        fingerprint("grpo", {"a": 1, "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": 2, "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": "1", "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": True, "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": 1, "b": {"c": [2, 1], "d": None}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": 1, "b": {"c": [1, 2]}}, {"x": "1", "y": "2"}, 0),
        fingerprint("sample", {"a": 1, "b": {"c": [1, 2], "d": None}}, {"x": "2", "y": "1"}, 0),
        fingerprint("sample", {"a": 1, "b": {"c": [1, 2], "d": None}}, {"x": "1", "y": "2"}, 1),
    ]
    assert len({mark, *others}) == 9
    assert len(mark) == 16
    assert int(mark, 16) >= 0


def test_fingerprint_is_the_same_in_every_process_and_release():
    # sha256 of {"config":{"a":1},"inputs":{},"seed":0,"step":"sample"}
    assert fingerprint("sample", {"a": 1}, {}) == "a52304b1020a64d6"


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_fingerprint_survives_a_json_round_trip(config):
    assert fingerprint("s", json.loads(json.dumps(config)), {}) == fingerprint("s", config, {})


def test_fingerprint_takes_dataclasses_and_refuses_what_it_cannot_tell_apart():
    assert fingerprint("s", {"x": SamplingConfig(n=3)}, {}) != fingerprint(
        "s", {"x": SamplingConfig(n=4)}, {}
    )
    with pytest.raises(TypeError, match="the key 1 of a fingerprinted configuration is not a string"):
        fingerprint("s", {"x": {1: 2}}, {})
    with pytest.raises(TypeError, match="cannot hold object"):
        fingerprint("s", {"x": object()}, {})


# --- artifacts


def test_a_finished_artifact_is_found_again(tmp_path):
    with store(tmp_path).open("sample", {"n": 5}, {"policy": "ab"}, seed=3) as work:
        assert not work.done
        work.records(Answer).append(ANSWERS)
        made = work.finish(Cost(completions=5), {"kept": 2})
    assert made.folder == tmp_path / "artifacts" / f"sample-{made.fingerprint}"
    with store(tmp_path).open("sample", {"n": 5}, {"policy": "ab"}, seed=3) as work:
        assert work.done
        found = work.artifact
    assert list(found.read(Answer)) == ANSWERS
    assert found.cost == Cost(completions=5)
    assert found.summary == {"kept": 2}
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest == dict(found.manifest)
    assert {key: manifest[key] for key in ("step", "config", "inputs", "seed", "status", "fingerprint")} == {
        "step": "sample", "config": {"n": 5}, "inputs": {"policy": "ab"}, "seed": 3, "status": "done",
        "fingerprint": made.fingerprint,
    }  # fmt: skip
    assert set(manifest["versions"]) == {"python", "restrl", "torch", "transformers"}
    assert manifest["started"] <= manifest["finished"]
    assert manifest["machine"] == {}


def test_what_is_known_of_the_machine_is_told_and_not_fingerprinted(tmp_path):
    stores = [Store(tmp_path / name, say=print) for name in "ab"]
    made = []
    for store, machine in zip(stores, ({}, {"sandbox": {"missing": {"landlock": "too old"}}}), strict=True):
        with store.open("sample", {}, {}) as work:
            store.machine |= machine  # a sandbox that was opened while the step ran
            made.append(work.finish())
    assert made[0].fingerprint == made[1].fingerprint
    assert [artifact.manifest["machine"] for artifact in made] == [
        {},
        {"sandbox": {"missing": {"landlock": "too old"}}},
    ]


@pytest.mark.parametrize("change", ["config", "inputs", "seed", "step"])
def test_another_configuration_is_another_artifact(tmp_path, change):
    arguments = {"step": "sample", "config": {"n": 5}, "inputs": {"policy": "ab"}, "seed": 0}
    with store(tmp_path).open(**arguments) as work:
        work.finish()
    other = {"step": "grpo", "config": {"n": 6}, "inputs": {"policy": "cd"}, "seed": 1}
    with store(tmp_path).open(**(arguments | {change: other[change]})) as work:
        assert not work.done


def test_an_error_leaves_the_artifact_to_go_on_with(tmp_path):
    def interrupted():
        with store(tmp_path).open("s", {}, {}) as work:
            work.records(Answer).append(ANSWERS[:2])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with store(tmp_path).open("s", {}, {}) as work:
        assert not work.done
        with pytest.raises(RuntimeError, match="is not finished"):
            _ = work.artifact
        log = work.records(Answer)
        assert len(log) == 2
        log.append(ANSWERS[2:])
        assert list(work.finish().read(Answer)) == ANSWERS


def test_a_finished_artifact_with_lost_records_is_an_error(tmp_path):
    with store(tmp_path).open("s", {}, {}) as work:
        work.records(Answer).append(ANSWERS)
        artifact = work.finish()
    path = artifact.folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]))
    with pytest.raises(
        UserError, match=r"records\.jsonl: 3 records, and the manifest says 5; remove .* to make it again"
    ):
        artifact.read(Answer)
    path.write_bytes(b"".join(lines)[:-1])
    with pytest.raises(UserError, match=r"records\.jsonl:5: not a whole Answer \(the line is cut off\)"):
        list(artifact.read(Answer))
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read .*records\.jsonl: No such file"):
        artifact.read(Answer)


def made_with_model(tmp_path):
    """A finished artifact of two logs and a model's folder."""
    with store(tmp_path).open("s", {}, {}) as work:
        work.records(Answer).append(ANSWERS)
        work.records(Cost, "costs.jsonl").append([Cost(1)])
        (work.folder / "policy" / "adapter").mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "adapter/weights"):
            (work.folder / "policy" / name).write_text("content")
        return work.finish(Cost(completions=5), {"kept": 2}, folders=["policy"])


LOSSES = {
    "policy": lambda folder: shutil.rmtree(folder / "policy"),
    "policy/model.safetensors": lambda folder: (folder / "policy" / "model.safetensors").unlink(),
    "policy/adapter/weights": lambda folder: (folder / "policy" / "adapter" / "weights").write_text("cut"),
    "records.jsonl": lambda folder: (folder / "records.jsonl").unlink(),
    "costs.jsonl": lambda folder: os.truncate(folder / "costs.jsonl", 3),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_finished_artifact_that_lost_a_file_is_made_again(tmp_path, loss):
    artifact, said = made_with_model(tmp_path), []
    with Store(tmp_path, said.append).open("s", {}, {}) as work:
        assert work.done
    (artifact.folder / "policy" / "note.txt").write_text("what was added is no loss")
    LOSSES[loss](artifact.folder)
    for attempt in range(2):  # the second goes on with what the first left
        with Store(tmp_path, said.append).open("s", {}, {}) as work:
            assert not work.done
            log = work.records(Answer)
            assert len(log) == (0, 2)[attempt]
            log.append(ANSWERS[2 * attempt : 2 * attempt + 2])
    (line,) = said
    assert line.startswith(f"s: {artifact.folder} was done and has lost {loss}")
    assert line.endswith(": it is made again")
    manifest = json.loads((artifact.folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["fingerprint"]) == ("running", artifact.fingerprint)
    assert not {"cost", "summary", "records", "files", "finished"} & set(manifest)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"status": "else"}'])
def test_a_broken_manifest_is_named(tmp_path, content):
    with store(tmp_path).open("s", {}, {}) as work:
        folder = work.folder
    (folder / "manifest.json").write_text(content)
    with (
        pytest.raises(UserError, match=r"manifest\.json: not a readable manifest; remove"),
        store(tmp_path).open("s", {}, {}),
    ):
        pass


def test_a_root_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(
            UserError, match=r"cannot write .*file/artifacts/s-.*; make room there or set paths\.outputs"
        ),
        Store(tmp_path / "file").open("s", {}, {}),
    ):
        pass


# --- records


def test_a_torn_last_line_is_dropped_at_every_cut(tmp_path):
    path = tmp_path / "r.jsonl"
    RecordLog(path, Answer).append(ANSWERS[:3])
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        log = RecordLog(path, Answer)
        kept = sum(end <= cut for end in ends)
        assert len(log) == kept
        assert list(log.read()) == ANSWERS[:kept]
        log.append(ANSWERS[kept:3])
        assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "end", [b"{}\n", b"5\n", b"\x00\x00\n", b'{"task_id": "a", "sample": 0, "text": "", "x": 1}\n']
)
def test_an_invalid_last_line_is_dropped(tmp_path, end):
    path = tmp_path / "r.jsonl"
    RecordLog(path, Answer).append(ANSWERS[:1])
    path.write_bytes(path.read_bytes() + end)
    assert list(RecordLog(path, Answer).read()) == ANSWERS[:1]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    RecordLog(path, Answer).append(ANSWERS[:3])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-9] + b"\n" + lines[2])
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"r\.jsonl:2: not a whole Answer .*; remove .* to redo it"):
        RecordLog(path, Answer)
    assert path.read_bytes() == before


def test_truncate_keeps_the_first(tmp_path):
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.append(ANSWERS)
    log.truncate(2)
    assert len(log) == 2
    log.append(ANSWERS[4:])
    assert list(log.read()) == [*ANSWERS[:2], ANSWERS[4]]
    assert list(RecordLog(tmp_path / "r.jsonl", Answer).read()) == [*ANSWERS[:2], ANSWERS[4]]
    log.truncate(99)
    assert len(log) == 3


def test_text_of_any_kind_comes_back(tmp_path):
    odd = [Answer("ü\u2028\u0085", 0, "a\r\n\x00\ud800", 0.1 + 0.2, Cost(seconds=1e-300))]
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.append(odd)
    assert list(log.read()) == odd


def test_a_full_disk_loses_nothing_that_was_written(tmp_path, monkeypatch):
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.append(ANSWERS[:2])

    def full_disk(_):  # after the bytes got out: some of them may stand in the file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(
            UserError, match=r"cannot write .*r\.jsonl: No space left on device; make room there"
        ):
            log.append(ANSWERS[2:])
    assert len(log) == 2
    assert list(log.read()) == ANSWERS[:2]
    log.append(ANSWERS[2:])
    assert list(log.read()) == ANSWERS


def test_a_device_without_space_is_a_user_error(tmp_path):
    log = RecordLog(tmp_path / "r.jsonl", Answer)
    log.path = Path("/dev/full")
    with pytest.raises(UserError, match="cannot write /dev/full: No space left on device"):
        log.append(ANSWERS)


# --- processes

CHUNK, CHUNKS = 3, 6
MAKER = textwrap.dedent(
    f"""
    import sys, time
    from restrl.artifacts import Store
    from restrl.records import Answer, Cost
    root, pause = sys.argv[1], float(sys.argv[2])
    say = lambda text: print(text, file=sys.stderr, flush=True)
    with Store(root, say).open("s", {{"n": 1}}, {{}}) as work:
        print("open", work.done, flush=True)
        if not work.done:
            log = work.records(Answer)
            log.truncate(len(log) // {CHUNK} * {CHUNK})
            for chunk in range(len(log) // {CHUNK}, {CHUNKS}):
                log.append([Answer(str(chunk), i, "x" * 5000) for i in range({CHUNK})])
                print("chunk", chunk, flush=True)
                time.sleep(pause)
            work.finish(Cost(completions={CHUNK * CHUNKS}))
        print("end", len(work.artifact.read(Answer)), flush=True)
    """
)


def start(tmp_path, pause):
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(tmp_path), str(pause)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def final_records(tmp_path):
    (folder,) = (tmp_path / "artifacts").iterdir()
    return (folder / "records.jsonl").read_bytes()


def test_killed_again_and_again_it_ends_like_an_undisturbed_run(tmp_path):
    assert start(tmp_path / "calm", 0).wait(30) == 0
    kills = 0
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02):
        process = start(tmp_path / "killed", 0.02)
        assert process.stdout.readline() == "open False\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(30) == -signal.SIGKILL
        process.communicate()
    assert kills == 5
    process = start(tmp_path / "killed", 0)
    out, err = process.communicate(timeout=30)
    assert out.endswith(f"end {CHUNK * CHUNKS}\n"), err
    assert final_records(tmp_path / "killed") == final_records(tmp_path / "calm")


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    process = start(tmp_path, 60)
    for line in ("open False\n", "chunk 0\n"):
        assert process.stdout.readline() == line
    process.kill()
    process.communicate()
    out, _ = start(tmp_path, 0).communicate(timeout=30)
    assert out.splitlines()[:2] == ["open False", "chunk 1"]


def test_two_processes_make_it_once(tmp_path):
    racers = [start(tmp_path, 0.05) for _ in range(2)]
    outs = sorted(racer.communicate(timeout=30)[0] for racer in racers)
    end = f"end {CHUNK * CHUNKS}\n"
    made = "open False\n" + "".join(f"chunk {i}\n" for i in range(CHUNKS)) + end
    assert outs == [made, "open True\n" + end]


def test_who_waits_says_so_and_takes_over_from_the_dead(tmp_path, monkeypatch):
    monkeypatch.setattr("restrl.artifacts.WAIT_NOTICE_SECONDS", 0.1)
    process = start(tmp_path, 60)
    for line in ("open False\n", "chunk 0\n"):
        assert process.stdout.readline() == line
    said = []

    def say(text):
        said.append(text)
        process.kill()

    with Store(tmp_path, say).open("s", {"n": 1}, {}) as work:
        assert not work.done
        assert len(work.records(Answer)) == CHUNK
    process.communicate()
    assert said[0] == f"waiting: another process is making {work.folder}"
    assert said[1].startswith("waited ")
