import restrl  # noqa: F401  # sets how threads wait, before a test loads torch
