"""Model families: samples, log-probabilities, values and gradients are transformers' own, or refused."""

import pytest
import torch

from restrl.errors import UserError
from restrl.model.selfcheck import check_sampling, check_training, check_value_model
from tests import families
from tests.families import FAMILIES, TABLE, bf16_mixed, build, build_value_model, engine, gradients
from tests.threads import one_thread  # noqa: F401


def refused(family, check):
    """Whether the check at load refuses the family: in one line that names it."""
    try:
        check()
    except UserError as error:
        words = str(error).lower()
        assert family in words or family.replace("-", "") in words
        assert "\n" not in words
        return True
    return False


def assert_same_gradients(found, expected):
    """Relative to each weight's gradient; a bias that shifts all scores alike has none but rounding."""
    assert found.keys() == expected.keys()
    largest = max(g.norm() for g in expected.values())
    for name in expected:
        error = (found[name] - expected[name]).norm()
        assert error <= 1e-4 * expected[name].norm() + 1e-6 * largest, name


@pytest.mark.parametrize("family", FAMILIES)
def test_sampling_is_transformers_own_or_refused(family):
    model = build(family)
    if refused(family, lambda: check_sampling(engine(model), model)):
        return
    ids, logprobs = families.sampled(model)
    assert ids == families.generated(model)
    with torch.no_grad():
        expected = families.plain_logprobs(model, list(zip(families.PROMPTS, ids, strict=True)))
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_is_transformers_own_or_refused(family):
    model = build(family)
    if refused(family, lambda: check_training(model)):
        return
    ours, plain = families.our_logprobs(model), families.plain_logprobs(model)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-4)
    assert_same_gradients(gradients(model, ours), gradients(model, plain))
    with bf16_mixed():
        low = families.our_logprobs(model)
    assert low.dtype == torch.float32
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model, low).values())


@pytest.mark.parametrize("family", FAMILIES)
def test_values_are_transformers_own_or_refused(family):
    if refused(family, lambda: check_value_model(build_value_model(family))):
        return
    model = build_value_model(family)
    ours, plain = families.our_values(model), families.plain_values(model)
    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-4)
    assert_same_gradients(gradients(model, ours), gradients(model, plain))
    with bf16_mixed():
        low = families.our_values(model)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model, low).values())


def test_the_committed_table_is_what_is_measured():
    assert TABLE.read_text() == families.table(), "run: python -m tests.families"
