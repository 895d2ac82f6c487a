"""Programs that try to be paid without solving anything, by family.

The task is ``f(x) = x * x + 7``.  No attack computes that, except behind the proof that an escape worked:
``f`` of an escape attack returns the right value only if the sandbox let it through.  A function of an attack
stands in ``f``; for standard input and output, ``STDIO_TAIL`` prints what ``f`` returns, for snippets
``SNIPPET_TAIL`` takes it as the result.
"""

from tests.sandbox.attacks import (
    answers,
    channel,
    comparison,
    early_exit,
    escape,
    in_process,
    limits,
    patching,
    snippets,
)

FAMILIES = {
    "early exit": early_exit.ATTACKS,
    "comparison": comparison.ATTACKS,
    "patching": patching.ATTACKS,
    "answers": answers.ATTACKS,
    "channel": channel.ATTACKS,
    "limits": limits.ATTACKS,
    "escape": escape.ATTACKS,
    "in process": in_process.ATTACKS,  # f beside its tests
    "snippet": snippets.ATTACKS,  # no f, but a value of the name result
}
ATTACKS = {f"{family}: {name}": source for family, each in FAMILIES.items() for name, source in each.items()}
STDIO_TAIL = "\nprint(f(int(input())))\n"
SNIPPET_TAIL = "\nresult = f(x)\n"
