from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.slurm import cluster as slurm


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm.Cluster]:
    """Skips where no cluster can be started, unless RESTRL_REQUIRE_SLURM is set."""
    if (why := slurm.missing()) is not None:
        if "RESTRL_REQUIRE_SLURM" in os.environ:
            pytest.fail(f"a SLURM cluster was required: {why}")
        pytest.skip(why)
    started = slurm.start(tmp_path_factory.mktemp("slurm"))
    yield started
    slurm.stop(started)
