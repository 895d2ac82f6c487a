"""What strategies that divide a module share: its layers, its hooks, and how it becomes whole again."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks")


def decoder_layers(module: nn.Module) -> list[nn.Module]:
    """The decoder's layers: the members of the ``ModuleList`` that holds most weights."""
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList)]
    return list(max(lists, key=lambda m: sum(p.numel() for p in m.parameters()), default=()))


def places_of(module: nn.Module, names: Sequence[str]) -> list[tuple[nn.Module, str]]:
    """(owner, its name there) of the parameters among the entries ``names`` of the module's state."""
    found = [(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
    return [(owner, key) for owner, key in found if key in owner._parameters]  # the others are buffers


@contextlib.contextmanager
def without_hooks(module: nn.Module) -> Iterator[None]:
    """A block in which forward passes call no hooks: those of a strategy communicate with other ranks."""
    modules = list(module.modules())
    before = [(m._forward_pre_hooks, m._forward_hooks) for m in modules]
    for m in modules:
        m._forward_pre_hooks, m._forward_hooks = OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for m, hooks in zip(modules, before, strict=True):
            m._forward_pre_hooks, m._forward_hooks = hooks


class Undivided:
    """Remembers a module as it is before it is divided, to undo that after training."""

    def __init__(self, module: nn.Module) -> None:
        self._before = [
            (m, type(m), {hooks: OrderedDict(getattr(m, hooks)) for hooks in HOOKS}) for m in module.modules()
        ]

    def restore(self, whole: Callable[[Any], nn.Parameter]) -> None:
        """``whole``: divided parameter -> whole one.  A parameter that is used twice stays one parameter."""
        known: dict[int, tuple[Any, nn.Parameter]] = {}  # id of the divided one -> both
        for module, kind, hooks in self._before:
            module.__class__ = kind
            for name, before in hooks.items():
                setattr(module, name, before)
            parameters = dict(module._parameters)
            for name, divided in parameters.items():
                if divided is not None:
                    if id(divided) not in known:
                        known[id(divided)] = (divided, whole(divided))
                    parameters[name] = known[id(divided)][1]
            module._parameters = parameters
