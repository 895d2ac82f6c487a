"""A stage as a plan: named steps, each with the steps whose results it needs.

A run makes all steps in their order.  With ``stage.only=STEP`` it makes that step alone, or a part of it,
from what other runs made.  So the same plan is the program of one process and the list of jobs on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from restrl.errors import UserError
from restrl.stages.parts import PartDone
from restrl.stages.resources import Resources
from restrl.stages.session import Session

# What a step's machine needs: nothing but processors; a device for a model that samples or rates; the devices
# of a training.
Machine = Literal["cpu", "model", "training"]
Results = Mapping[str, Any]  # of the steps that were made, by name


def no_check(session: Session, resources: Resources) -> None:
    """For a plan whose steps find all bad input themselves."""


@dataclass(frozen=True)
class Step:
    name: str  # unique in its plan
    run: Callable[[Session, Resources, Results], Any]  # receives the results of the steps that it needs
    needs: tuple[str, ...] = ()  # steps that come earlier in the plan
    machine: Machine = "cpu"
    divisible: bool = False  # over problems, so that separate processes can each make a part


@dataclass(frozen=True)
class Plan:
    """``steps`` in an order in which one process can make them; the result of the last is the stage's."""

    steps: Sequence[Step]
    # finds bad input before the first step that would otherwise find it after hours
    check: Callable[[Session, Resources], None] = field(default=no_check)

    def chosen(self, only: str | None) -> list[Step]:
        """The step ``only`` after all the steps that it needs; None: all steps.  Raises UserError."""
        if only is None:
            return list(self.steps)
        names = [step.name for step in self.steps]
        if only not in names:
            raise UserError(f"stage.only={only}: this stage's steps are {', '.join(names)}")
        wanted = {only}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted |= set(step.needs)
        return [step for step in self.steps if step.name in wanted]


def run_plan(plan: Plan, session: Session, resources: Resources) -> Any:
    """Makes the chosen steps (``stage.only``); returns the result of the last, or None after a part."""
    stage, results = session.config.stage, dict[str, Any]()
    steps = plan.chosen(stage.only)
    if session.part is not None and not steps[-1].divisible:
        divisible = ", ".join(step.name for step in plan.steps if step.divisible)
        raise UserError(f"stage.part: {steps[-1].name} cannot be divided; these steps can: {divisible}")
    plan.check(session, resources)
    for step in steps:
        whole = stage.only is None or step.name == stage.only
        known = {name: results[name] for name in step.needs}
        try:
            results[step.name] = step.run(session if whole else session.reading, resources, known)
        except PartDone:
            session.console.say(f"{step.name}: part {stage.part} of {stage.parts} is done")
            return None
    return results[steps[-1].name]
