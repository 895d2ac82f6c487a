import torch

from restrl.engine.cache import RowCache, moves_into_holes


def test_the_last_rows_move_into_the_holes():
    assert moves_into_holes([0, 2, 4, 5]) == [(1, 4), (3, 5)]
    assert moves_into_holes([0, 1]) == []
    assert moves_into_holes([]) == []
    assert moves_into_holes([3]) == [(0, 3)]


def prompt(*numbers):
    """One layer, one prompt, one head of size 1: keys as given, values negative."""
    keys = torch.tensor(numbers, dtype=torch.float32).view(1, 1, -1, 1)
    return [(keys, -keys)]


def test_rows_enter_grow_and_leave():
    cache = RowCache(3)
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
    cache = RowCache(1)
    cache.add(prompt(5, 6), source=0, length=2, count=1)
    capacity = cache.keys[0].shape[2]
    for position in range(2, capacity + 2):
        cache.expect(torch.tensor([position]), position + 1)
        new = torch.full((1, 1, 1, 1), float(position))
        keys, _ = cache.update(new, new, 0)
    assert cache.keys[0].shape[2] > capacity
    assert keys[0, 0, :, 0].tolist() == [5, 6, *range(2, capacity + 2)]
