"""Starter problems: small Python functions with call tests, generated from a seed, nothing to download.

Families with parameters, split into train and held-out by family, so that no held-out problem is a rename
of a training one.  A held-out family has fewer problems: intervals are made by resampling families, so more
families narrow them, while more problems of a family hardly do.
"""

from restrl.data.starter.registry import FAMILIES as FAMILIES
from restrl.data.starter.registry import PER_FAMILY as PER_FAMILY
from restrl.data.starter.registry import load as load
