"""One DDIM step and the loop against diffusers' DDIMScheduler, in all its options."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from retrace_pack.samplers.ddim import DenoisedRange, FreshNoise, ddim_step, sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.prediction import denoised_from_output
from retrace_pack.samplers.schedule import make_schedule
from sd_levels import sd_sigmas

PATH = VarianceExploding()

SHAPE = (2, 4, 8, 8)


def randn(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def our_step(schedule, index, output, x_vp, prediction, eta=0.0, noise=None, **limits):
    sigma, sigma_next = schedule.sigmas[index], schedule.sigmas[index + 1]
    x = PATH.from_unit(x_vp, sigma)
    denoised = denoised_from_output(output, x, sigma, prediction)
    fresh = None if noise is None else FreshNoise(PATH, eta, lambda: noise)
    result = ddim_step(x, denoised, sigma, sigma_next, fresh=fresh, denoised_range=DenoisedRange(**limits))
    return PATH.to_unit(result, sigma_next)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("index", [0, 1, 24, 48, 49])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_step_equals_diffusers(sigma_table, sd_scheduler, relative, prediction, index, eta):
    reference = sd_scheduler(prediction_type=prediction)
    reference.set_timesteps(50)
    schedule = make_schedule(sigma_table, 50, terminal="first")
    output, x, noise = randn(1), randn(2), randn(3)
    t = int(reference.timesteps[index])
    given_noise = noise if eta > 0 else None
    expected = reference.step(output, t, x, eta=eta, variance_noise=given_noise).prev_sample
    # diffusers keeps 1 - abar in float32.
    assert relative(our_step(schedule, index, output, x, prediction, eta, given_noise), expected) < 1e-4


@pytest.mark.parametrize("recompute", [False, True])
def test_clipping_equals_diffusers(sigma_table, sd_scheduler, relative, recompute):
    reference = sd_scheduler(clip_sample=True, clip_sample_range=0.7)
    reference.set_timesteps(50)
    schedule = make_schedule(sigma_table, 50, terminal="first")
    output, x = randn(1), randn(2)
    expected = reference.step(output, int(reference.timesteps[30]), x, use_clipped_model_output=recompute).prev_sample
    ours = our_step(schedule, 30, output, x, "epsilon", clip=0.7, recompute_eps=recompute)
    assert relative(ours, expected) < 1e-4


@pytest.mark.parametrize(("ratio", "maximum"), [(0.9, 1.0), (0.995, 1.5), (0.8, 4.0)])
@pytest.mark.parametrize(("index", "size"), [(20, 3.0), (45, 0.1)])
def test_dynamic_thresholding_equals_diffusers(sigma_table, sd_scheduler, relative, ratio, maximum, index, size):
    """Also of an image so small that its quantile lies below 1, which is left as it is."""
    reference = sd_scheduler(thresholding=True, dynamic_thresholding_ratio=ratio, sample_max_value=maximum)
    reference.set_timesteps(50)
    schedule = make_schedule(sigma_table, 50, terminal="first")
    output, x = randn(1), size * randn(2)
    expected = reference.step(output, int(reference.timesteps[index]), x).prev_sample
    ours = our_step(schedule, index, output, x, "epsilon", quantile=ratio, quantile_max=maximum)
    assert relative(ours, expected) < 1e-4


def test_add_noise_and_velocity_equal_diffusers(sigma_table, sd_scheduler, relative):
    reference = sd_scheduler()
    clean, noise, timesteps = randn(1), randn(2), torch.tensor([3, 700])
    sigma = sigma_table[timesteps].view(-1, 1, 1, 1)
    noisy = PATH.to_unit(PATH.add_noise(clean, noise, sigma), sigma)
    assert relative(noisy, reference.add_noise(clean, noise, timesteps)) < 1e-5
    velocity = reference.get_velocity(clean, noise, timesteps)
    assert relative(denoised_from_output(velocity, PATH.from_unit(noisy, sigma), sigma, "v_prediction"), clean) < 1e-5


def test_zero_snr_step_is_finite_and_starts_from_minus_v():
    """At abar = 0 the state says nothing about the image: x0 = -v (the closed form; diffusers divides by zero for eps)."""
    sigma = sd_sigmas(zero_terminal_snr=True)[-1]
    x, v = PATH.from_unit(randn(1), sigma), randn(2)
    torch.testing.assert_close(denoised_from_output(v, x, sigma, "v_prediction"), -v, rtol=1e-3, atol=2e-3)


@given(sigma=st.floats(0.05, 20), ratio=st.floats(0, 1), seed=st.integers(0, 99))
def test_ancestral_noise_keeps_the_variance(sigma, ratio, seed):
    """sigma_down^2 + sigma_up^2 = sigma_next^2: with x0 = 0 and unit eps and noise the level after the step is right."""
    level, level_next = torch.tensor(sigma, dtype=torch.float64), torch.tensor(sigma * ratio, dtype=torch.float64)
    zero = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    down = ddim_step(level * (zero + 1), zero, level, level_next, fresh=FreshNoise(PATH, 1.0, lambda: zero))
    up = ddim_step(zero, zero, level, level_next, fresh=FreshNoise(PATH, 1.0, lambda: zero + 1))
    torch.testing.assert_close(down**2 + up**2, (level_next**2).expand_as(down))


@pytest.mark.parametrize("sigmas", [[0.0, 1.0, 2.0], [2.0, 1.0, 1.5, 0.0], [1.0, 0.0, 0.0]])
def test_sigmas_that_do_not_descend_are_refused(sigmas):
    with pytest.raises(ValueError, match="do not descend from noise to image"):
        sample_ddim(lambda x, sigma: x, randn(1), torch.tensor(sigmas))


def test_the_loop_follows_the_closed_form_of_gaussian_data(sigma_table):
    """For data N(0, s^2) the ODE is x(sigma) = x(sigma_0) sqrt((s^2 + sigma^2) / (s^2 + sigma_0^2)); DDIM converges to it."""
    scale = 0.8

    def denoise(x, sigma):
        return x * scale**2 / (scale**2 + sigma**2)

    x, errors = randn(5), []
    for steps in (25, 100, 400):
        sigmas = make_schedule(sigma_table, steps, "trailing").sigmas
        exact = x * scale / (scale**2 + sigmas[0] ** 2).sqrt()
        errors.append(float((sample_ddim(denoise, x, sigmas) - exact).abs().max() / exact.abs().max()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_the_callback_sees_every_step_in_order(sigma_table):
    seen = []
    sigmas = make_schedule(sigma_table, 5).sigmas
    sample_ddim(
        lambda x, s: 0.5 * x, randn(1), sigmas, callback=lambda step, x, sigma, x0: seen.append((step, float(sigma)))
    )
    assert seen == [(index, float(sigma)) for index, sigma in enumerate(sigmas[:-1])]
