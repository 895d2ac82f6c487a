import pytest
import torch

from restrl.engine.cache import PromptCache, RowCache, moves_into_gaps, rows_that_fit


def test_the_last_rows_move_into_the_holes():
    assert moves_into_gaps([0, 2, 4, 5]) == [(1, 4), (3, 5)]
    assert moves_into_gaps([0, 1]) == []
    assert moves_into_gaps([]) == []
    assert moves_into_gaps([3]) == [(0, 3)]


def prompt(*numbers):
    """One layer, one prompt, one head of size 1: keys as given, values negative."""
    keys = torch.tensor(numbers, dtype=torch.float32).view(1, 1, -1, 1)
    return [(keys, -keys)]


def test_rows_enter_grow_and_leave():
    cache = RowCache(3, max_length=500)
    cache.add(prompt(1, 2, 9), source=0, length=2, count=2)  # 9 is padding
    cache.add(prompt(3), source=0, length=1, count=1)
    cache.expect(torch.tensor([2, 2, 1]), 3)
    new = torch.tensor([10.0, 11.0, 12.0]).view(3, 1, 1, 1)
    keys, values = cache.update(new, -new, 0)
    assert keys[0, 0, :, 0].tolist() == [1, 2, 10]
    assert keys[1, 0, :, 0].tolist() == [1, 2, 11]
    assert keys[2, 0, :2, 0].tolist() == [3, 12]
    assert (values[:2] == -keys[:2]).all()
    assert cache.keep([1, 2], longest=3) == [2, 1]  # row 2 moved into the hole of row 0
    assert cache.keys[0][0, 0, :2, 0].tolist() == [3, 12]
    assert cache.keys[0][1, 0, :3, 0].tolist() == [1, 2, 11]


def test_capacity_grows_and_keeps_what_it_holds():
    cache = RowCache(1, max_length=500)
    cache.add(prompt(5, 6), source=0, length=2, count=1)
    capacity = cache.keys[0].shape[2]
    for position in range(2, capacity + 2):
        cache.expect(torch.tensor([position]), position + 1)
        new = torch.full((1, 1, 1, 1), float(position))
        keys, _ = cache.update(new, new, 0)
    assert cache.keys[0].shape[2] > capacity
    assert keys[0, 0, :, 0].tolist() == [5, 6, *range(2, capacity + 2)]


def test_rows_are_bounded_by_their_bytes():
    """DeepSeek-Coder-6.7B: 32 layers of 32 heads of 128, keys and values, 2 bytes each."""
    per_token = 32 * 32 * 128 * 2 * 2
    assert per_token == 2**19
    assert 64 * 1524 * per_token == pytest.approx(51e9, rel=0.01)
    assert rows_that_fit(8 * 2**30, per_token, 1524) == 10  # 16384 tokens / 1524
    assert rows_that_fit(64 * 1524 * per_token, per_token, 1524) == 64
    assert rows_that_fit(1, per_token, 1524) == 1


def test_a_token_is_as_large_as_its_keys_and_values():
    cache = PromptCache()
    for layer in range(3):
        # 2 heads of 8, and values of 4: (16 + 8) x 2 bytes in each of 3 layers
        cache.update(torch.ones(5, 2, 7, 8), torch.ones(5, 2, 7, 4, dtype=torch.bfloat16), layer)
    assert cache.bytes_per_token == 3 * (16 + 8) * 2


def test_keys_have_the_dtype_of_the_values():
    """Float32 rotary angles make a bfloat16 model's keys float32: twice the memory for no digit more."""
    half = torch.bfloat16
    collected = PromptCache()
    keys, _ = collected.update(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4, dtype=half), 0)
    assert keys.dtype == half
    rows = RowCache(1, max_length=8)
    rows.add(collected.layers_kv, source=0, length=2, count=1)
    rows.expect(torch.tensor([2]), 3)
    keys, values = rows.update(torch.full((1, 1, 1, 4), 3.0), torch.ones(1, 1, 1, 4, dtype=half), 0)
    assert (keys.dtype, values.dtype, rows.keys[0].dtype) == (half, half, half)
    assert keys[0, 0, :, 0].tolist() == [1, 1, 3]


def test_capacity_ends_at_the_longest_row():
    cache = RowCache(2, max_length=70)
    cache.add(prompt(*range(60)), source=0, length=60, count=2)
    assert cache.keys[0].shape[2] == 70  # and not 128
