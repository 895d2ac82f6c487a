"""Judges programs that nobody trusts."""

from restrl.sandbox.pool import Sandbox

__all__ = ["Sandbox"]
