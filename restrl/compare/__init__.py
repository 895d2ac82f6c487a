"""Finished runs side by side, paired by problem: ``python -m restrl.compare RUN RUN ...``."""
