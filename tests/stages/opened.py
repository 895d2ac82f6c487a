"""Session and resources of a configuration, as a run has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from restrl.config import Config
from restrl.stages.resources import Resources
from restrl.stages.session import Session, new_session


@contextmanager
def opened(config: Config) -> Iterator[tuple[Session, Resources]]:
    session = new_session(config)
    with Resources(session) as resources:
        yield session, resources
