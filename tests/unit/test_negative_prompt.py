"""Negative-prompt inversion: P7 of the parity tests, and the interpolation from the source prompt to the empty one."""

import math

import pytest
import torch
from retrace_pack.inversion.negative_prompt import interpolate_embeddings
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.schedule import make_schedule

SHAPE = (1, 4, 8, 8)


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def angle_between(first: torch.Tensor, second: torch.Tensor) -> float:
    first, second = first.flatten(), second.flatten()
    return math.acos(float(first @ second / (first.norm() * second.norm())))


def rollout(table: torch.Tensor, text: torch.Tensor, null: torch.Tensor, cfg: float) -> torch.Tensor:
    """Sampling from noise to image under guidance, with an eps network that an embedding controls."""

    def denoise(x, sigma, embedding):
        x_vp = x / (1 + sigma**2).sqrt()
        return x - sigma * torch.tanh(x_vp + 0.3 * x_vp.roll(1, -1) + embedding.mean(dim=1).view(1, 4, 1, 1))

    def guided(x, sigma):
        prompted, unprompted = denoise(x, sigma, text), denoise(x, sigma, null)
        return unprompted + cfg * (prompted - unprompted)

    schedule = make_schedule(table, 20)
    return sample_ddim(guided, schedule.sigmas[0] * randn(5, *SHAPE), schedule.sigmas)


@pytest.mark.parametrize("cfg", [0.0, 3.5, 7.5, 15.0])
def test_p7_the_source_prompt_as_the_negative_makes_every_cfg_one(sigma_table, cfg):
    source, empty = randn(1, 1, 7, 4), randn(2, 1, 7, 4)
    expected = rollout(sigma_table, source, empty, 1.0)
    negative = interpolate_embeddings(source, empty, 0.0)
    torch.testing.assert_close(rollout(sigma_table, source, negative, cfg), expected, rtol=1e-9, atol=1e-9)
    if cfg:
        halfway = interpolate_embeddings(source, empty, 0.5)
        assert float((rollout(sigma_table, source, halfway, cfg) - expected).abs().max()) > 1e-2


@pytest.mark.parametrize("shape", [(1, 77, 16), (1, 32)])
def test_the_ends_are_the_prompts_themselves(shape):
    """Also without a token axis: a pooled embedding."""
    source, empty = randn(1, *shape).float(), 0.3 * randn(2, *shape).float()
    for amount, expected in ((0.0, source), (1.0, empty)):
        mixed = interpolate_embeddings(source, empty, amount)
        assert mixed.dtype == torch.float32
        torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("amount", [0.1, 0.5, 0.8])
def test_in_between_the_norm_stays_and_the_angle_grows_evenly(amount):
    source, empty = randn(1, 1, 5, 8), randn(2, 1, 5, 8)
    empty = empty * source.norm() / empty.norm()
    mixed = interpolate_embeddings(source, empty, amount)
    whole = angle_between(source, empty)
    assert float(mixed.norm()) == pytest.approx(float(source.norm()))
    assert angle_between(source, mixed) == pytest.approx(amount * whole)
    assert angle_between(mixed, empty) == pytest.approx((1 - amount) * whole)


@pytest.mark.parametrize(("source_tokens", "empty_tokens"), [(154, 77), (77, 154), (154, 231)])
def test_prompts_of_other_lengths_are_repeated_which_attention_does_not_notice(source_tokens, empty_tokens):
    source, empty = randn(1, 1, source_tokens, 8), randn(2, 1, empty_tokens, 8)
    queries = randn(3, 1, 6, 8)
    for amount, prompt in ((0.0, source), (1.0, empty)):
        mixed = interpolate_embeddings(source, empty, amount)
        assert mixed.shape == (1, math.lcm(source_tokens, empty_tokens), 8)
        attended, expected = (
            torch.nn.functional.scaled_dot_product_attention(queries, tokens, tokens) for tokens in (mixed, prompt)
        )
        torch.testing.assert_close(attended, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.0, -1.0])
def test_prompts_without_a_great_circle_between_them_are_mixed_on_the_line(factor):
    """The same prompt, a multiple of it, a zeroed one (which has no direction) and its opposite (which has too many)."""
    source = randn(1, 1, 5, 8).float()
    mixed = interpolate_embeddings(source, factor * source, 0.25)
    torch.testing.assert_close(mixed, source * (0.75 + 0.25 * factor), rtol=1e-5, atol=1e-5)


def test_the_inputs_are_not_changed():
    source, empty = randn(1, 1, 6, 8), randn(2, 1, 3, 8)
    before = source.clone(), empty.clone()
    interpolate_embeddings(source, empty, 0.5)
    assert torch.equal(source, before[0]) and torch.equal(empty, before[1])
