"""Between abar and sigma; and the tests' own table of Stable Diffusion's levels against diffusers' DDIMScheduler."""

import pytest
import torch
from diffusers import DDIMScheduler
from retrace_pack.samplers.noise_levels import alphas_cumprod_from_sigmas, sigmas_from_alphas_cumprod
from sd_levels import sd_alphas_cumprod, sd_sigmas, with_zero_terminal_snr


def diffusers_alphas(**changes):
    return DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **changes).alphas_cumprod


def test_alphas_cumprod_equal_diffusers():
    torch.testing.assert_close(sd_alphas_cumprod().float(), diffusers_alphas(), rtol=1e-4, atol=1e-7)


def test_zero_terminal_snr_equals_diffusers_and_ends_at_zero():
    ours = with_zero_terminal_snr(sd_alphas_cumprod())
    torch.testing.assert_close(ours.float(), diffusers_alphas(rescale_betas_zero_snr=True), rtol=2e-4, atol=1e-6)
    assert ours[-1] == 0


def test_sigma_is_noise_over_signal():
    alphas = sd_alphas_cumprod()
    torch.testing.assert_close(sigmas_from_alphas_cumprod(alphas) * alphas.sqrt(), (1 - alphas).sqrt())


def test_sigmas_and_alphas_are_inverse_of_each_other():
    alphas = sd_alphas_cumprod()
    torch.testing.assert_close(alphas_cumprod_from_sigmas(sigmas_from_alphas_cumprod(alphas)), alphas)


def test_sigma_stays_finite_where_alpha_is_zero():
    assert sd_sigmas(zero_terminal_snr=True)[-1] == pytest.approx(4518.76, abs=0.01)
