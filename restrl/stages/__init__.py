"""What ``train.py`` and ``decode.py`` run: steps that make artifacts, and stages, which are chains of steps.

``run.py`` has the stages by name.  A step takes the ``Session`` (who runs: configuration, console, artifacts,
ranks), the ``Resources`` where it needs them (what is costly to open: policy, sandbox, problems, scorer), and
artifacts of earlier steps.
"""
