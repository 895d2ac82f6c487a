import pytest
import torch

from restrl.objective.logprobs import LogitTerms, chunked_logprobs


def problem(bias: bool = False) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(7, 5, generator=generator, requires_grad=True)
    weight = torch.randn(11, 5, generator=generator, requires_grad=True)
    offset = torch.randn(11, generator=generator, requires_grad=bias)
    targets = torch.randint(0, 11, (7,), generator=generator)
    upstream = torch.randn(7, generator=generator)
    return hidden, weight, offset, targets, upstream


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_plain_log_softmax_and_its_gradient(chunk: int, temperature: float, bias: bool) -> None:
    hidden, weight, offset, targets, upstream = problem(bias)
    logits = hidden @ weight.T + (offset if bias else 0)
    plain = (logits / temperature).log_softmax(-1)
    inputs = [hidden, weight, offset] if bias else [hidden, weight]
    at_targets = plain.gather(1, targets[:, None])[:, 0]
    expected = torch.autograd.grad((at_targets * upstream).sum(), inputs)
    out = chunked_logprobs(
        hidden, weight, targets, bias=offset if bias else None, temperature=temperature, chunk=chunk
    )
    gradients = torch.autograd.grad((out.logprobs * upstream).sum(), inputs)
    torch.testing.assert_close(out.logprobs, at_targets, rtol=0, atol=1e-5)
    torch.testing.assert_close(out.entropy, -(plain.exp() * plain).sum(-1), rtol=0, atol=1e-5)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_a_model_does_to_its_logits(scale: float, softcap: float | None, temperature: float) -> None:
    hidden, weight, offset, targets, upstream = problem(bias=True)
    logits = (hidden @ weight.T + offset) * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    at_targets = (logits / temperature).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    inputs = [hidden, weight, offset]
    expected = torch.autograd.grad((at_targets * upstream).sum(), inputs)
    terms = LogitTerms(scale, softcap)
    out = chunked_logprobs(
        hidden, weight, targets, bias=offset, temperature=temperature, chunk=3, terms=terms
    )
    torch.testing.assert_close(out.logprobs, at_targets, rtol=0, atol=1e-5)
    gradients = torch.autograd.grad((out.logprobs * upstream).sum(), inputs)
    torch.testing.assert_close(gradients, expected, rtol=0, atol=1e-5)


def test_a_frozen_output_matrix_gets_no_gradient() -> None:
    hidden, weight, _, targets, _ = problem()
    frozen = weight.detach()
    chunked_logprobs(hidden, frozen, targets).logprobs.sum().backward()
    assert hidden.grad is not None
    assert frozen.grad is None


def test_bfloat16_sums_in_float32() -> None:
    hidden, weight, _, targets, upstream = problem()
    low_hidden, low_weight = (t.detach().bfloat16().requires_grad_() for t in (hidden, weight))
    out = chunked_logprobs(low_hidden, low_weight, targets, chunk=2)
    (out.logprobs * upstream).sum().backward()
    exact = chunked_logprobs(low_hidden.detach().float(), low_weight.detach().float(), targets)
    torch.testing.assert_close(out.logprobs, exact.logprobs, rtol=0, atol=0.05)
    assert low_weight.grad is not None
    assert low_weight.grad.dtype == torch.bfloat16


def test_autocast_lowers_the_product_only() -> None:
    hidden, weight, _, targets, _ = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = chunked_logprobs(hidden, weight, targets)
    out.logprobs.sum().backward()
    assert out.logprobs.dtype == torch.float32
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
    exact = chunked_logprobs(hidden, weight, targets)
    torch.testing.assert_close(out.logprobs, exact.logprobs, rtol=0, atol=0.1)
    assert not torch.equal(out.logprobs, exact.logprobs)
