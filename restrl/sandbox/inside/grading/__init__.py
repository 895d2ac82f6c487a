"""The tests' process: it knows the tests and the expected values, asks, compares and gives the verdict.

Who runs here: our code, and test code of the data set; never a line of code of a model.  The solution's
functions are proxies here (``proxy``), and its results are exact builtin values decoded by ``wire``.
Who may lie: whoever sends a message that a program could have sent.  Such a message can also lead test code
to take time or memory without end; ``clock`` and ``tester`` limit both.
A pass needs positive evidence: a right value, or a proof.  An end, a silence and an exit status 0 are none.
Never import here: ``program``, ``inprocess`` and ``server``: what runs programs or forks them has no
business beside the expected values.
"""
