"""Run-books, one YAML file per question (``python train.py sweep=NAME``), and the report of a sweep."""
