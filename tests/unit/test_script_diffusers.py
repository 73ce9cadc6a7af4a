"""scripts/invert_with_diffusers.py: diffusers' UNet as the denoiser, and a latent that comes back."""

import importlib.util
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 10


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location(
        "invert_with_diffusers", ROOT / "scripts" / "invert_with_diffusers.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    made = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    # What a trained network says varies slowly with the state, which is what the iterations live on.
    made.conv_out.weight.data *= 0.05
    return made.eval()


@pytest.fixture
def scheduler(sd_scheduler):
    return sd_scheduler()


@pytest.fixture
def context():
    return torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def latent():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))


def test_the_denoiser_is_the_unet_in_diffusers_own_terms(script, unet, scheduler: DDIMScheduler, context, latent):
    """x0 by the formula of diffusers' step, at a timestep of the table."""
    table = script.noise_levels.sigmas_from_alphas_cumprod(scheduler.alphas_cumprod)
    timestep, abar = 501, scheduler.alphas_cumprod[501]
    with torch.no_grad():
        eps = unet(latent, timestep, encoder_hidden_states=context.expand(2, -1, -1)).sample
        mine = script.denoiser(unet, context, table, "epsilon")(latent / abar.sqrt(), table[timestep])
    assert torch.allclose(mine, (latent - (1 - abar).sqrt() * eps) / abar.sqrt(), atol=1e-4)


def test_iterations_bring_the_latent_back(script, unet, scheduler, context, latent):
    errors = [
        float((script.rebuild(unet, scheduler, context, latent, STEPS, iterations) - latent).abs().max())
        for iterations in (0, 5)
    ]
    assert errors[1] < errors[0] / 3
    assert errors[1] < 0.01
