"""Random inputs of the starter problems."""

from __future__ import annotations

from random import Random

VOCABULARY = (
    "apple banana cat dog elephant fig grape house ice jam kite lemon moon nest orange pear queen river "
    "sun tree umbrella van water box yard zebra level radar go up we tea book letter balloon pepper "
    "coffee a is Anna Bob Rome Paris noon Data Big red Blue deed stats"
)
WORDS = tuple(VOCABULARY.split())
NAMES = ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "joe")
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def word(rng: Random) -> str:
    return rng.choice(WORDS)


def words(rng: Random, low: int = 1, high: int = 6) -> list[str]:
    return [word(rng) for _ in range(rng.randint(low, high))]


def sentence(rng: Random, low: int = 1, high: int = 6) -> str:
    return " ".join(words(rng, low, high))


def mixed(rng: Random) -> str:
    """Words, digits and capitals."""
    parts = [
        rng.choice((word(rng), word(rng).upper(), str(rng.randint(1, 2000))))
        for _ in range(rng.randint(1, 5))
    ]
    return " ".join(parts)


def letters(rng: Random, low: int = 1, high: int = 10, alphabet: str = LETTERS) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def numbers(rng: Random, low: int = -9, high: int = 20, shortest: int = 0, longest: int = 8) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.randint(shortest, longest))]


def distinct(rng: Random, low: int = -9, high: int = 30, shortest: int = 3, longest: int = 8) -> list[int]:
    return rng.sample(range(low, high + 1), rng.randint(shortest, longest))


def grid(rng: Random, shortest: int = 1, longest: int = 4) -> list[list[int]]:
    return [numbers(rng, 0, 20, shortest, 4) for _ in range(rng.randint(1, longest))]


def table(rng: Random, low: int = 0, high: int = 20, shortest: int = 0) -> dict[str, int]:
    keys = rng.sample(NAMES, rng.randint(shortest, 6))
    return {key: rng.randint(low, high) for key in keys}


def distinct_table(rng: Random) -> dict[str, int]:
    """A table with distinct values, so that its largest value has one key."""
    keys = rng.sample(NAMES, rng.randint(2, 6))
    return dict(zip(keys, rng.sample(range(30), len(keys)), strict=True))
