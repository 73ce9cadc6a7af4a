"""Sigma tables against diffusers' DDIMScheduler."""

import pytest
import torch
from diffusers import DDIMScheduler
from retrace_pack.samplers.noise_levels import (
    alphas_cumprod_from_betas,
    alphas_cumprod_from_sigmas,
    make_betas,
    rescale_to_zero_terminal_snr,
    sigmas_from_alphas_cumprod,
)


@pytest.mark.parametrize("curve", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_alphas_cumprod_equal_diffusers(curve):
    reference = DDIMScheduler(beta_schedule=curve, beta_start=0.00085, beta_end=0.012).alphas_cumprod
    ours = alphas_cumprod_from_betas(make_betas(curve))
    torch.testing.assert_close(ours.float(), reference, rtol=1e-4, atol=1e-7)


def test_given_betas_equal_diffusers():
    betas = torch.linspace(1e-4, 3e-2, 40)
    reference = DDIMScheduler(num_train_timesteps=40, trained_betas=betas.numpy()).alphas_cumprod
    torch.testing.assert_close(alphas_cumprod_from_betas(betas).float(), reference, rtol=1e-5, atol=0)


def test_zero_terminal_snr_equals_diffusers_and_ends_at_zero():
    reference = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=True
    ).alphas_cumprod
    ours = rescale_to_zero_terminal_snr(alphas_cumprod_from_betas(make_betas("scaled_linear")))
    torch.testing.assert_close(ours.float(), reference, rtol=2e-4, atol=1e-6)
    assert ours[-1] == 0


def test_sigmas_and_alphas_are_inverse_of_each_other():
    alphas = alphas_cumprod_from_betas(make_betas("scaled_linear"))
    torch.testing.assert_close(alphas_cumprod_from_sigmas(sigmas_from_alphas_cumprod(alphas)), alphas)


def test_sigma_stays_finite_where_alpha_is_zero():
    alphas = rescale_to_zero_terminal_snr(alphas_cumprod_from_betas(make_betas("scaled_linear")))
    assert sigmas_from_alphas_cumprod(alphas)[-1] == pytest.approx(4518.76, abs=0.01)


def test_unknown_curve_is_refused():
    with pytest.raises(ValueError, match="beta curve 'cubic' is unknown; choose linear"):
        make_betas("cubic")
