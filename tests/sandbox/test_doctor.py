"""What is said of a machine: by the doctor, at the start of a run, in manifests and in reports."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from restrl.artifacts import Store
from restrl.config import Config, PathsConfig, SandboxConfig
from restrl.sandbox import Sandbox, pool
from restrl.sandbox.__main__ import doctor
from restrl.sandbox.calibration import Machine
from restrl.sandbox.inside.confine.settings import PROTECTIONS
from restrl.stages.report import write_report
from tests.stages.opened import opened


@pytest.fixture
def poor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without two of the protections, twice as slow as the reference, with a silent kernel."""
    monkeypatch.setattr(Sandbox, "disable", ("landlock", "netns"))
    monkeypatch.setattr(pool, "probe", lambda _python, _processes: Machine("", 2.0, False))


@pytest.mark.usefixtures("poor")
def test_a_doctor_names_every_protection(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor() == 0
    out = capsys.readouterr().out
    assert re.findall(r"^  (\w+) ", out, re.M) == list(PROTECTIONS)
    assert "  landlock  NO (switched off)" in out
    assert "speed: 0.50 of the reference, so limits in seconds are multiplied by 2" in out
    assert "time without a processor: NOT given back" in out
    assert "a right, a wrong and an endless program: passed, failed, timeout\n" in out


@pytest.mark.parametrize("lack", ["mounts", "pidns"])
def test_a_doctor_tells_where_confinement_is_not_inherited(
    lack: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox(SandboxConfig(workers=1, calibrate=False)) as sandbox:
        inherited = sandbox.inherited
    assert doctor() == 0
    assert (
        "programs are forked by a process that is confined already\n" in capsys.readouterr().out
    ) is inherited
    monkeypatch.setattr(Sandbox, "disable", (lack,))
    assert doctor() == 0
    assert "each program is confined by itself: as safe, slower" in capsys.readouterr().out


@pytest.mark.usefixtures("poor")
def test_a_run_says_it_once_and_writes_it_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(sandbox=SandboxConfig(workers=1), paths=PathsConfig(outputs=str(tmp_path)))
    with opened(config) as (session, resources):
        assert resources.sandbox is resources.sandbox
        with session.store.open("sample", {}, {}) as work:
            artifact = work.finish()
    said = capsys.readouterr().out
    assert said.count("sandbox: this machine does not enforce ") == 1
    assert "netns (switched off)" in said
    assert "landlock (switched off)" in said
    assert "sandbox: limits in seconds are 2 times longer on this slow machine\n" in said
    facts = artifact.manifest["machine"]["sandbox"]
    assert facts["missing"] == {"landlock": "switched off", "netns": "switched off"}
    assert sorted(facts["active"]) == sorted(set(PROTECTIONS) - {"landlock", "netns"})
    assert facts["limits_factor"] == 2
    report = report_of(tmp_path / "poor", artifact.manifest["machine"])
    assert "- sandbox: not enforced: " in report
    assert "- sandbox: limits in seconds times 2, for a slow machine" in report
    assert "sandbox" not in report_of(tmp_path / "rich", {"sandbox": {"missing": {}, "limits_factor": 1.0}})


def report_of(folder: Path, machine: dict) -> str:
    store = Store(folder)
    store.machine = machine
    with store.open("grpo", {}, {}) as work:
        artifact = work.finish()
    policy = {"confidence": 0.95, "n": 1, "clusters": 1, "resampled": "problems", "harness_errors": 0}
    policy["confidence_interval"] = {}
    results = {"base": policy, "trained": policy, "paired": {}, "places": {}}
    write_report(folder, results, [{"grpo": artifact}], "rest_grpo")
    return (folder / "report.md").read_text()
