import math

import numpy as np
import pytest
import torch

from restrl.engine.sampling import choose, uniforms

PROBABILITIES = (0.5, 0.25, 0.125, 0.0625, 0.0625)
LOGITS = torch.tensor([[math.log(p) + 3.0 for p in PROBABILITIES]])


def tokens(uniform, temperature=1.0, top_p=1.0, logits=LOGITS):
    rows = len(uniform)
    chosen, logprobs = choose(
        logits.repeat(rows, 1),
        torch.full((rows,), temperature),
        torch.full((rows,), top_p),
        torch.tensor(uniform, dtype=torch.float64),
    )
    return chosen.tolist(), logprobs


def test_a_token_is_where_the_number_falls():
    """Cumulative: 0.5, 0.75, 0.875, 0.9375, 1."""
    assert tokens([0.0, 0.499, 0.501, 0.749, 0.751, 0.88, 0.94, 0.999999])[0] == [0, 0, 1, 1, 2, 3, 4, 4]


def test_logprobs_are_those_of_the_temperature_before_top_p():
    """T = 0.5 squares: (64, 16, 4, 1, 1) / 86; top_p 0.9 cuts all but two, whose numbers stay."""
    chosen, logprobs = tokens([0.1, 0.6, 0.99], temperature=0.5, top_p=0.9)
    assert chosen == [0, 0, 1]
    torch.testing.assert_close(logprobs, torch.tensor([64 / 86, 64 / 86, 16 / 86]).log())


def test_logprobs_of_greedy_tokens_are_those_of_temperature_1():
    chosen, logprobs = tokens([0.9], temperature=0.0)
    assert chosen == [0]
    torch.testing.assert_close(logprobs, torch.tensor([0.5]).log())


def test_rows_of_different_temperatures_have_logprobs_of_their_own():
    _, logprobs = choose(
        LOGITS.repeat(3, 1),
        torch.tensor([1.0, 0.5, 0.0]),
        torch.ones(3),
        torch.tensor([0.1, 0.1, 0.1], dtype=torch.float64),
    )
    torch.testing.assert_close(logprobs, torch.tensor([0.5, 64 / 86, 0.5]).log())


def test_temperature():
    """T = 0.5 squares: (64, 16, 4, 1, 1) / 86; cumulative 0.744, 0.930, 0.977, 0.988, 1."""
    assert tokens([0.74, 0.75, 0.93, 0.94, 0.98, 0.99], temperature=0.5)[0] == [0, 1, 1, 2, 3, 4]


def test_temperature_0_is_greedy():
    assert tokens([0.0, 0.6, 0.999], temperature=0.0)[0] == [0, 0, 0]


def test_top_p_keeps_the_fewest_tokens_that_reach_it():
    """0.8 needs three tokens, 0.875 of the mass: cumulative 0.5714, 0.857, 1.  0.75 needs two exactly."""
    assert tokens([0.57, 0.58, 0.85, 0.86, 0.9999], top_p=0.8)[0] == [0, 1, 1, 2, 2]
    assert tokens([0.66, 0.67, 0.9999], top_p=0.75)[0] == [0, 1, 1]
    assert tokens([0.9999], top_p=1e-6)[0] == [0]


def test_rows_have_options_of_their_own():
    chosen, _ = choose(
        LOGITS.repeat(4, 1),
        torch.tensor([1.0, 0.0, 0.5, 1.0]),
        torch.tensor([1.0, 1.0, 1.0, 0.5]),
        torch.tensor([0.99, 0.99, 0.94, 0.99], dtype=torch.float64),
    )
    assert chosen.tolist() == [4, 0, 2, 0]


def test_a_large_vocabulary_that_no_block_divides():
    """p(i) proportional to 1 for 1000 tokens: token = floor(1000 u)."""
    uniform = [(token + 0.5) / 1000 for token in range(1000)]
    assert tokens(uniform, logits=torch.zeros(1, 1000))[0] == list(range(1000))


def test_no_token_without_probability_is_ever_chosen():
    logits = torch.full((1, 600), -math.inf)
    logits[0, [3, 255, 256, 511]] = 0.0
    edge = np.nextafter(1.0, 0.0)
    assert tokens([0.0, 0.2499999, 0.26, 0.51, 0.76, edge], logits=logits)[0] == [3, 3, 255, 256, 511, 511]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.3, 0.8)])
def test_the_distribution_of_many_samples(temperature, top_p):
    count = 20000
    chosen, _ = tokens(uniforms(7, 0, count), temperature, top_p)
    weights = np.array(PROBABILITIES) ** (1 / temperature)
    weights /= weights.sum()
    kept = np.cumsum(weights) - weights < top_p
    expected = np.where(kept, weights, 0) / weights[kept].sum()
    observed = np.bincount(chosen, minlength=5) / count
    assert np.abs(observed - expected).max() < 4 * math.sqrt(0.25 / count)  # four standard errors
    assert (observed[~kept] == 0).all()


def test_uniforms_are_named_by_seed_and_sample():
    assert (uniforms(1, 0, 5) == uniforms(1, 0, 9)[:5]).all()
    assert not (uniforms(1, 0, 5) == uniforms(1, 1, 5)).any()
    assert not (uniforms(1, 0, 5) == uniforms(0, 1, 5)).any()
