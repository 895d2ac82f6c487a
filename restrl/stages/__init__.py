"""Steps, which make artifacts, and stages, which are chains of steps run by ``train.py`` and ``decode.py``.

``run.py`` has the stages by name.  A step takes the ``Session`` (configuration, console, artifacts, ranks),
the ``Resources`` if it needs them (policy, sandbox, problems, scorer, which are expensive to open), and
artifacts of earlier steps.
"""
