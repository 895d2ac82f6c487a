import signal

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# A shell starts a background job with SIGINT ignored, and processes inherit that: tests that send one to a
# process of theirs would wait for it in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
