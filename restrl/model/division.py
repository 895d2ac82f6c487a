"""What each strategy divides among the ranks, as a table for the estimate of memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Division:
    """True: each of N ranks holds an N-th; False: each holds all."""

    parameters: bool = False
    gradients: bool = False
    optimizer: bool = False
    # the weights are in the precision of products, and the optimizer has a float32 copy of them
    master: bool = False
    # parameters, gradients and optimizer are in the memory of the machine, not of the device
    offload: bool = False
    buffer: float = 0.0  # numbers that are gathered or reduced at a time, at most
    # gradients that are collected before they are reduced, at most; there is a copy in the order of ranks
    bucket: float = 0.0


# of DeepSpeed's own sizes: numbers of gradients and of weights on their way at a time, and the weights that
# stage 3 keeps gathered
REDUCE, GATHER, LIVE = 5e8, 5e8, 1e9
DIVISIONS = {
    "auto": Division(),  # one rank, or ddp
    "ddp": Division(),
    "fsdp2": Division(parameters=True, gradients=True, optimizer=True),
    "deepspeed_zero2": Division(gradients=True, optimizer=True, master=True, buffer=REDUCE + GATHER),
    "deepspeed_zero3": Division(True, True, True, master=True, buffer=LIVE, bucket=REDUCE),
    "deepspeed_zero3_offload": Division(
        True, True, True, master=True, offload=True, buffer=LIVE, bucket=REDUCE
    ),
}
