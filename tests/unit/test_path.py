"""Both paths in closed form: marginals, Euler steps, fixed-point preimages, and DDPM's posterior at eta 1."""

import pytest
import torch
from retrace_pack.samplers.ddim import FreshNoise, ddim_step
from retrace_pack.samplers.path import RectifiedFlow, VarianceExploding

PATHS = [VarianceExploding(), RectifiedFlow(), RectifiedFlow(noise_scale=8.0)]
LEVELS = {VarianceExploding: (0.4, 14.6), RectifiedFlow: (0.3, 1.0)}


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*(shape or (2, 4, 8, 8)), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def levels(path) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.tensor(level, dtype=torch.float64) for level in LEVELS[type(path)])


def step(path, x, x0, s, s_next, eta, noise) -> torch.Tensor:
    return path.stochastic_step(x0, path.noise_of(x, x0, s), s, s_next, eta=eta, noise=noise)


@pytest.fixture(params=PATHS, ids=str)
def path(request):
    return request.param


def test_a_state_has_the_noise_it_was_made_with(path):
    for s in levels(path):
        assert torch.allclose(path.noise_of(path.add_noise(randn(0), randn(1), s), randn(0), s), randn(1), atol=1e-12)


def test_a_state_is_made_of_image_and_noise_as_the_path_says():
    s = torch.tensor(0.25, dtype=torch.float64)
    expected = {
        VarianceExploding(): randn(0) + 0.25 * randn(1),
        RectifiedFlow(): 0.75 * randn(0) + 0.25 * randn(1),
        RectifiedFlow(noise_scale=8.0): 0.75 * randn(0) + 2 * randn(1),
    }
    for path, state in expected.items():
        torch.testing.assert_close(path.add_noise(randn(0), randn(1), s), state)


def test_the_signal_rises_by_the_logarithm_of_its_ratio_to_the_noise(path):
    low, mid = (0.5 * level for level in levels(path))
    rise = (path.a(low) / path.b(low)).log() - (path.a(mid) / path.b(mid)).log()
    assert rise > 0
    torch.testing.assert_close(path.log_snr_rise(mid, low), rise)


def test_without_noise_a_step_is_eulers(path):
    """x + (s_next - s) d with d = (x - x0) / s, downwards to any level and to the image itself."""
    low, high = levels(path)
    x, x0 = randn(0), randn(1)
    for s_next in (low, 0 * low):
        euler = x + (s_next - high) * (x - x0) / high
        torch.testing.assert_close(step(path, x, x0, high, s_next, 0.0, randn(2)), euler, rtol=0, atol=1e-12)
        torch.testing.assert_close(ddim_step(x, x0, high, s_next), euler, rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_a_stochastic_step_keeps_the_marginal(path, eta):
    """Of a known image the states are N(a x0, b^2); what arrives has that mean and variance at its level."""
    low, high = levels(path)
    image = torch.full((400_000,), 0.7, dtype=torch.float64)
    x = path.add_noise(image, randn(0, 400_000), high)
    arrived = step(path, x, image, high, low, eta, randn(1, 400_000))
    assert abs(float(arrived.mean() - path.a(low) * 0.7)) < 0.01 * float(path.b(low))
    assert abs(float(arrived.std() / path.b(low)) - 1) < 0.01


def test_at_eta_1_a_step_draws_from_ddpms_posterior(path):
    """q(x' | x, x0) by Bayes' rule from the forward step x = (a / a') x' + sqrt(b^2 - (a / a')^2 b'^2) noise."""
    low, high = levels(path)
    x, x0, noise = randn(0), randn(1), randn(2)
    ratio = path.a(high) / path.a(low)
    added = path.b(high) ** 2 - ratio**2 * path.b(low) ** 2
    precision = 1 / path.b(low) ** 2 + ratio**2 / added
    mean = (path.a(low) * x0 / path.b(low) ** 2 + ratio * x / added) / precision
    ours = step(path, x, x0, high, low, 1.0, noise)
    torch.testing.assert_close(ours, mean + precision**-0.5 * noise, rtol=1e-10, atol=1e-10)


def test_the_last_step_is_the_image(path):
    _, high = levels(path)
    assert torch.equal(step(path, randn(0), randn(1), high, 0 * high, 1.0, randn(2)), randn(1))


def test_the_variance_exploding_step_has_the_bits_of_the_ddim_step():
    low, high = torch.tensor(0.4), torch.tensor(14.6)
    x, x0, noise = (randn(seed).float() for seed in range(3))
    up = 0.7 * low * (1 - (low / high) ** 2).sqrt()
    written_out = x0 + (low**2 - up**2).sqrt() * ((x - x0) / high) + up * noise
    assert torch.equal(step(VarianceExploding(), x, x0, high, low, 0.7, noise), written_out)
    assert torch.equal(
        ddim_step(x, x0, high, low, fresh=FreshNoise(VarianceExploding(), 0.7, lambda: noise)), written_out
    )


def test_the_step_back_from_a_preimage_gives_the_state(path):
    """A network whose velocity does not depend on x: its image moves with x by k, and the preimage is exact."""
    low, high = levels(path)
    x, query, denoised = randn(0), randn(1), randn(2)
    z = path.preimage(x, query, denoised, low, high)
    image = denoised + path.k(high) * (z - query)
    torch.testing.assert_close(ddim_step(z, image, high, low), x, rtol=0, atol=1e-10)


def test_preimages_from_the_image_and_to_the_noise_are_finite(path):
    _, high = levels(path)
    z = path.preimage(randn(0), randn(1), randn(2), 0 * high, high)
    assert bool(torch.isfinite(z).all())


def test_a_flows_preimage_moves_by_the_velocity_alone():
    low, high = torch.tensor(0.3), torch.tensor(0.9)
    x, query, denoised = randn(0), randn(1), randn(2)
    expected = x + (high - low) * (query - denoised) / high
    torch.testing.assert_close(RectifiedFlow().preimage(x, query, denoised, low, high), expected)


def test_a_held_velocity_gives_k():
    """k from the definition of v: x0 = x / (1 + s^2) - v s / sqrt(1 + s^2) on the one path, x - s v on the other."""
    x, v, s = randn(0).requires_grad_(), randn(1), torch.tensor(0.6, dtype=torch.float64)
    for path, image in (
        (VarianceExploding(), x / (1 + s**2) - v * s / (1 + s**2) ** 0.5),
        (RectifiedFlow(), x - s * v),
    ):
        (gradient,) = torch.autograd.grad(image.sum(), x)
        assert torch.allclose(gradient, path.k(s).expand_as(gradient))


def test_a_state_shown_at_another_level_keeps_the_networks_variance(path):
    low, high = levels(path)
    x = randn(0)
    torch.testing.assert_close(path.at_level(x, low, high) / path.c(high), x / path.c(low))
    assert torch.equal(path.at_level(x, low, low), x)
