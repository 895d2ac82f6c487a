"""The process of one solution: it loads the program and answers what the tests' process asks.

Who runs here: code of the model, beside ours.  From the first line of the program on, our code in this
process is at its mercy.
Who may lie: this whole process.  It can claim any value, any output, any exception; what a claim is worth
is decided in ``grading``.  It is confined before it reads the program (``confine``).
Never import here: ``grading``.  This process gets the program and its inputs, one after another; it must
never hold an expected value, the source of a test or a comparison.
"""
