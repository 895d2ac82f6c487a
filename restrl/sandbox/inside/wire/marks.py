"""Names on which ``grading``, which compiles tests, and ``inprocess``, which runs them, agree."""

from __future__ import annotations

FILENAME = "<tests>"  # of all compiled code of tests
# Text constants in the code of tests that stand where a function stands: grading/rewrite.py puts them there,
# inprocess/binding.py replaces them by the functions.
ENTER, CHECK, VALUE, RESULT, UNITTEST, ANY = "$enter", "$check", "$value", "$result", "$unittest", "$any"
