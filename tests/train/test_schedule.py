from restrl.config import GrpoConfig
from restrl.train.schedule import replacements, step_schedule


def schedule(states: int, seed: int = 0, **changes: int) -> list[list[int]]:
    return step_schedule(states, GrpoConfig(**changes), seed)  # type: ignore[arg-type]


def test_each_epoch_is_a_shuffle_of_all_states() -> None:
    steps = schedule(10, prompts_per_step=4, epochs=2)
    assert [len(step) for step in steps] == [4, 4, 4, 4, 4]
    order = [index for step in steps for index in step]
    assert sorted(order[:10]) == sorted(order[10:]) == list(range(10))
    assert order[:10] != order[10:]


def test_only_the_last_step_may_be_smaller() -> None:
    assert [len(step) for step in schedule(5, prompts_per_step=3, epochs=1)] == [3, 2]


def test_max_steps_cuts_the_same_order_short() -> None:
    assert (
        schedule(10, prompts_per_step=2, epochs=3, max_steps=7)
        == schedule(10, prompts_per_step=2, epochs=3)[:7]
    )
    assert len(schedule(4, prompts_per_step=2, epochs=1, max_steps=100)) == 2


def test_the_seed_alone_decides() -> None:
    assert schedule(10, seed=1) == schedule(10, seed=1) != schedule(10, seed=2)


def test_replacements_are_distinct_and_unused() -> None:
    drawn = replacements(10, {0, 1, 2}, 5, seed=0)
    assert len(set(drawn)) == 5
    assert not set(drawn) & {0, 1, 2}
    assert sorted(replacements(5, {0, 1, 2}, 5, seed=0)) == [3, 4]
