"""Shared by the unit tests: Stable Diffusion's noise levels, matching diffusers schedulers, toy denoisers."""

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from sd_levels import sd_sigmas


@pytest.fixture(scope="session")
def sigma_table() -> torch.Tensor:
    """SD1.x's table in float64, [1000]."""
    return sd_sigmas()


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


@pytest.fixture(scope="session")
def randn():
    """Seed -> two latents in float64."""
    return lambda seed: torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="session")
def toy():
    """A smooth, nonlinear denoiser in the dtype of x: two eps networks of the variance-preserving state under guidance."""

    def make(guidance: float = 1.0, phase: float = 0.0):
        def denoise(x, sigma):
            x_vp = x / (1 + sigma**2).sqrt()
            uncond = torch.tanh(0.8 * x_vp + 0.2 * x_vp.roll(1, -1))
            cond = torch.tanh(x_vp + 0.3 * x_vp.roll(1, -2) + phase) * (0.9 + 0.05 * sigma.log())
            return x - sigma * (uncond + guidance * (cond - uncond))

        return denoise

    return make


@pytest.fixture(scope="session")
def toy64(toy):
    """The toy in float64, whatever the input's dtype: the exact methods pass float32, whose rounding must not blur their sums."""

    def make(guidance: float = 1.0, phase: float = 0.0):
        denoise = toy(guidance, phase)
        return lambda x, sigma: denoise(x.double(), sigma.double())

    return make


@pytest.fixture(scope="session")
def network_of():
    """denoise -> the papers' eps network, (x_vp, alpha bar) -> eps, with the float32 inputs of the exact methods."""

    def make(denoise):
        def network(x_vp, alpha_bar):
            sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
            x = x_vp / alpha_bar.sqrt()
            return (x - denoise(x.float(), sigma.float())) / sigma

        return network

    return make
