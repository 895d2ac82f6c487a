"""The main job with the real vLLM: from sampling to the comparison, and that no kill changes its result."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (make vllm)")

from restrl.train.metrics_file import read_metrics
from tests.engine.vllm_models import saved, small_model
from tests.stages.conftest import Workplace, make_workplace
from tests.stages.processes import Run, Strike, contents

pytestmark = pytest.mark.timeout(900)  # a busy machine is no failure
# on a CPU vLLM's attention wants heads of at least 32, so model=tiny cannot be used
ENGINE = ("engine=vllm", "engine.kv_gb=0.25", "grpo.iterations=1")


def train(workplace: Workplace, *overrides: str, strikes: tuple[Strike, ...] = ()) -> Run:
    folder = workplace.folder.parent / "model"
    if not folder.exists():
        saved(small_model(initializer_range=0.02), folder)
    return workplace.train(f"model.path={folder}", *ENGINE, *overrides, strikes=strikes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("vllm") / "undisturbed"
    folder.mkdir()
    workplace = make_workplace(folder)
    finished = train(workplace)
    assert (finished.code, finished.err) == (0, "")
    return workplace


def beside(workplace: Workplace, name: str) -> Workplace:
    """Another place, which shares the model."""
    folder = workplace.folder.parent / name
    folder.mkdir()
    return make_workplace(folder)


def rows(workplace: Workplace) -> list[dict[str, float]]:
    (folder,) = (workplace.outputs / "artifacts").glob("grpo-*")
    return read_metrics(folder)


def test_it_trains_and_compares(undisturbed: Workplace) -> None:
    assert undisturbed.results()["trained"]["n"] == 4
    assert (undisturbed.last / "vllm.log").exists()
    policies = set((undisturbed.outputs / "artifacts").glob("grpo-*/policy/model.safetensors"))
    assert len(policies) == 1
    assert policies.pop().read_bytes() != (undisturbed.folder.parent / "model/model.safetensors").read_bytes()


def test_engine_and_trainer_agree_after_every_update(undisturbed: Workplace) -> None:
    """A sync that was left out or went wrong would show from the second step on."""
    trained = [row for row in rows(undisturbed) if "logprob_mismatch" in row]
    assert len(trained) >= 2
    assert max(row["logprob_mismatch_max"] for row in trained) < 1e-3
    (manifest,) = (undisturbed.outputs / "artifacts").glob("grpo-*/manifest.json")
    gap = json.loads(manifest.read_text())["summary"]["engine_gap"]
    assert gap["mean"] <= gap["max"] < 1e-3
    assert gap["share_above_0.1"] == 0
    assert "engine_gap: mean " in (undisturbed.last / "report.md").read_text()


@pytest.mark.parametrize(
    "strike",
    [
        Strike("restrl.engine.vllm:VllmEngine._completion", call=20),  # in the second chunk of samples
        Strike("restrl.train.step_module:StepModule.apply_update", call=2),
        Strike("restrl.engine.vllm:VllmEngine._load", call=3),  # in the sync after the second step
    ],
    ids=["sampling", "update", "sync"],
)
def test_killed_and_run_again(undisturbed: Workplace, strike: Strike) -> None:
    workplace = beside(undisturbed, strike.target.rpartition(".")[2])
    assert train(workplace, strikes=(strike,)).code == -signal.SIGKILL
    again = train(workplace)
    assert (again.code, again.err) == (0, "")
    expected, found = contents(undisturbed.outputs), contents(workplace.outputs)
    assert {Path(name).parts[1:] for name in found} == {Path(name).parts[1:] for name in expected}
    assert found == expected


def test_an_engine_process_that_is_killed_ends_the_run_in_one_line(undisturbed: Workplace) -> None:
    """While it samples the second step; the same command then goes on."""
    workplace = beside(undisturbed, "engine_killed")
    own = ("engine.own_process=true", "grpo.checkpoint_every=1")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(train, workplace, *own)
        while not running.done() and "step-000001.ckpt" not in checkpoints(workplace):
            time.sleep(0.05)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name().startswith("VLLM::EngineCore"):
                    process.kill()
        struck = running.result()
    assert struck.code == 2
    assert struck.err.startswith("error: engine=vllm: it did not ")
    assert struck.err.endswith("vllm.log; the same command goes on from here\n")
    assert struck.err.count("\n") == 1
    again = train(workplace, *own)
    assert (again.code, again.err) == (0, "")
    assert "done before" in again.out


def checkpoints(workplace: Workplace) -> set[str]:
    return {path.name for path in workplace.outputs.glob("artifacts/grpo-*/checkpoints/*.ckpt")}


def test_overlapped_it_goes_on_with_the_same_numbers(undisturbed: Workplace) -> None:
    """Killed in the second update, while the third step is sampled."""
    overlap = ("grpo.overlap=true", "grpo.objective.tis_cap=2", "grpo.checkpoint_every=1")
    whole, workplace = (beside(undisturbed, name) for name in ("overlapped", "struck"))
    finished = train(whole, *overlap)
    assert (finished.code, finished.err) == (0, "")
    assert "grpo.overlap: the engine samples on the trainer's device" in finished.out
    strike = Strike("restrl.train.step_module:StepModule.apply_update", call=2)
    assert train(workplace, *overlap, strikes=(strike,)).code == -signal.SIGKILL
    again = train(workplace, *overlap)
    assert (again.code, again.err) == (0, "")
    assert contents(workplace.outputs) == contents(whole.outputs)
    trained = [row for row in rows(workplace) if "logprob_mismatch" in row]
    first, second = (row["logprob_mismatch_max"] for row in trained[:2])
    assert first < 1e-4 < second


def test_a_search_samples_with_it(undisturbed: Workplace) -> None:
    model = f"model.path={undisturbed.folder.parent / 'model'}"
    search = ("decoder=mcts", "scorer=verifier", "decoder.k=[1]", "decoder.mcts.completions=10")
    finished = undisturbed.decode(model, *ENGINE[:2], *search)
    assert (finished.code, finished.err) == (0, "")
    assert undisturbed.results()["n"] == 4


def test_a_key_of_another_engine_is_refused(undisturbed: Workplace) -> None:
    refused = undisturbed.decode("engine=hf", "engine.tensor_parallel=2")
    assert refused.code == 2
    assert refused.err == "error: engine.tensor_parallel=2: engine=hf does not read it, engine=vllm would\n"
