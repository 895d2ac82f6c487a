"""Searched trees to look at: ``page.py`` makes HTML, ``svg.py`` a picture; ``python -m restrl.pictures``."""
