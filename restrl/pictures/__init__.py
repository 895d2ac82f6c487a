"""Pictures of searched trees: ``page.py`` makes HTML, ``svg.py`` SVG; see ``python -m restrl.pictures``."""
