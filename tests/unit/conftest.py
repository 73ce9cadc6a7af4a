"""The pieces that unit tests share: Stable Diffusion's noise levels, and the matching diffusers schedulers."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from retrace_pack.samplers.noise_levels import alphas_cumprod_from_betas, make_betas, sigmas_from_alphas_cumprod


@pytest.fixture(scope="session")
def sigma_table() -> torch.Tensor:
    """SD1.x's table in float64, [1000]."""
    return sigmas_from_alphas_cumprod(alphas_cumprod_from_betas(make_betas("scaled_linear")))


@pytest.fixture
def sd_scheduler():
    """A factory of diffusers' DDIMScheduler with SD1.x's settings; keywords override them."""

    def make(**changes) -> DDIMScheduler:
        settings = {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "clip_sample": False,
            "set_alpha_to_one": False,
            "steps_offset": 1,
        }
        return DDIMScheduler(**{**settings, **changes})

    return make


@pytest.fixture
def sd_inverse_scheduler(sd_scheduler):
    return lambda **changes: DDIMInverseScheduler.from_config(sd_scheduler(**changes).config)
