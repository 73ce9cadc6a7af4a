"""P9, P10 and P17: our blending against diffusers' inpainting pipelines and Differential Diffusion, on the same weights.

In float64, including diffusers' noise levels: a random network under guidance amplifies float32's rounding to 1e-5.
"""

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline, UNet2DConditionModel
from diffusers.pipelines.deprecated.stable_diffusion_variants.pipeline_stable_diffusion_inpaint_legacy import (
    StableDiffusionInpaintPipelineLegacy,
)
from retrace_pack.samplers.blending import NoisedImage, blend_after_steps, masks_over_time, steps_of_strength
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.prediction import denoised_from_output
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

CFG = 4.0
STRENGTHS = [1.0, 0.8, 0.75, 0.5, 0.33]


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return (
        UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=4,
        )
        .double()
        .eval()
    )


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(1)
    blocks = 4
    return (
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * blocks,
            up_block_types=("UpDecoderBlock2D",) * blocks,
            block_out_channels=(8,) * blocks,
            norm_num_groups=4,
            latent_channels=4,
            scaling_factor=0.18215,
        )
        .double()
        .eval()
    )


@pytest.fixture
def scheduler(sd_scheduler, sigma_table):
    made = sd_scheduler()
    made.alphas_cumprod = 1 / (1 + sigma_table**2)
    made.final_alpha_cumprod = made.alphas_cumprod[0]
    return made


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(2)
    positive, negative = (torch.randn(1, 77, 16, generator=generator).double() for _ in range(2))
    image = torch.rand(1, 3, 64, 64, generator=generator).double() * 2 - 1
    # Gray values of every kind, hard regions, at full size, constant over each latent pixel.
    mask = torch.rand(1, 1, 8, 8, generator=generator).double()
    mask[..., :3], mask[..., 6:] = 0, 1
    return positive, negative, image, mask


def pipeline(kind, unet, vae, scheduler):
    pipe = kind(
        vae=vae, text_encoder=None, tokenizer=None, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def guided(unet, table, positive, negative):
    """The network under guidance, in our form: (x, sigma) -> x0."""
    context = torch.cat([negative, positive])

    def denoise(x, sigma):
        timestep = int((table - sigma).abs().argmin())
        x_vp = PATH.to_unit(x, sigma)
        empty, full = unet(torch.cat([x_vp, x_vp]), timestep, context).sample.chunk(2)
        return denoised_from_output(empty + CFG * (full - empty), x, sigma, "epsilon")

    return denoise


@torch.no_grad()
def ours(unet, table, positive, negative, clean, noise, mask, steps, strength, legacy):
    count = steps_of_strength(steps, strength)
    sigmas = make_schedule(table, steps, terminal="first").window(steps - count, steps).sigmas
    background = NoisedImage(clean, noise, PATH)
    pure = strength == 1 and not legacy
    x = PATH.from_unit(noise, sigmas[0]) if pure else background.at(sigmas[0])
    hook = blend_after_steps(background, masks_over_time(mask, count), sigmas, legacy=legacy, path=PATH)
    x = sample_ddim(guided(unet, table, positive, negative), x, sigmas, after_step=hook)
    return PATH.to_unit(x, sigmas[-1])


@pytest.mark.parametrize("steps", [20, 7])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_p9_legacy_equals_diffusers(unet, vae, inputs, scheduler, sigma_table, strength, steps):
    positive, negative, image, mask = inputs
    pipe = pipeline(StableDiffusionInpaintPipelineLegacy, unet, vae, scheduler)
    # A tensor mask is not inverted there: 1 keeps.
    keep = (1 - mask).repeat_interleave(8, -1).repeat_interleave(8, -2)
    theirs = pipe(
        image=image, mask_image=keep, strength=strength, num_inference_steps=steps, guidance_scale=CFG,
        prompt_embeds=positive, negative_prompt_embeds=negative, generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        clean = vae.encode(image).latent_dist.sample(generator=generator) * 0.18215
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    result = ours(unet, sigma_table, positive, negative, clean, noise, mask, steps, strength, legacy=True)
    assert theirs.shape == result.shape
    assert float((result - theirs).abs().max()) <= 1e-9
    if steps == 7:
        other = ours(unet, sigma_table, positive, negative, clean, noise, mask, steps, strength, legacy=False)
        assert float((other - theirs).abs().max()) > 1e-3, "the level quirk cannot be told apart"


def test_p9_a_strength_that_leaves_no_step_is_an_empty_batch_there_and_a_no_op_here(unet, vae, inputs, scheduler):
    positive, negative, image, mask = inputs
    pipe = pipeline(StableDiffusionInpaintPipelineLegacy, unet, vae, scheduler)
    theirs = pipe(
        image=image, mask_image=mask.repeat_interleave(8, -1).repeat_interleave(8, -2), strength=0.1,
        num_inference_steps=7, guidance_scale=CFG, prompt_embeds=positive, negative_prompt_embeds=negative,
        generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip
    assert len(theirs) == 0
    assert steps_of_strength(7, 0.1) == 0


@pytest.mark.parametrize("steps", [20, 7])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_p10_matched_equals_diffusers_newer_pipeline(unet, vae, inputs, scheduler, sigma_table, strength, steps):
    positive, negative, image, mask = inputs
    # It binarizes its mask at full size.
    mask = mask.round()
    pipe = pipeline(StableDiffusionInpaintPipeline, unet, vae, scheduler)
    theirs = pipe(
        image=image, mask_image=mask.repeat_interleave(8, -1).repeat_interleave(8, -2), height=64, width=64,
        strength=strength, num_inference_steps=steps, guidance_scale=CFG, prompt_embeds=positive,
        negative_prompt_embeds=negative, generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        # Its image processor takes a tensor from 0 to 1 or from -1 to 1 as it is.
        clean = vae.encode(image).latent_dist.sample(generator=generator) * 0.18215
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    result = ours(unet, sigma_table, positive, negative, clean, noise, mask, steps, strength, legacy=False)
    assert float((result - theirs).abs().max()) <= 1e-9
    assert torch.allclose(result * (1 - mask), clean * (1 - mask), atol=1e-6)


def differential(denoise_vp, scheduler, clean, noise, change, steps, strength):
    """The loop of Differential Diffusion's image-to-image pipeline, written down literally (its map is 1 - change)."""
    scheduler.set_timesteps(steps)
    begin = steps - min(int(steps * strength), steps)
    timesteps = scheduler.timesteps[begin:]
    with_noise = [scheduler.add_noise(clean, noise, t[None]) for t in timesteps]
    thresholds = torch.arange(len(timesteps), dtype=clean.dtype) / len(timesteps)
    masks = [(1 - change) > threshold for threshold in thresholds]
    latents = with_noise[0]
    for index, t in enumerate(timesteps):
        if index > 0:
            kept = masks[index].to(clean.dtype)
            latents = with_noise[index] * kept + latents * (1 - kept)
        latents = scheduler.step(denoise_vp(latents, t), t, latents).prev_sample
    return latents


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_p17_change_maps_equal_differential_diffusion(unet, inputs, scheduler, sigma_table, strength):
    positive, negative, _, _ = inputs
    generator = torch.Generator().manual_seed(4)
    clean, noise = (torch.randn(1, 4, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    # No value exactly on a threshold, and nothing that never changes: there the reference leaves one step of noise off.
    change = (torch.rand(1, 1, 8, 8, generator=generator).double() * 9).floor() / 9 * 0.9 + 0.03
    steps = 10
    context = torch.cat([negative, positive])

    def denoise_vp(x, t):
        empty, full = unet(torch.cat([x, x]), t, context).sample.chunk(2)
        return empty + CFG * (full - empty)

    with torch.no_grad():
        theirs = differential(denoise_vp, scheduler, clean, noise, change, steps, strength)
        count = steps_of_strength(steps, strength)
        sigmas = make_schedule(sigma_table, steps, terminal="first").window(steps - count, steps).sigmas
        masks = masks_over_time(change, count, "change map")
        background = NoisedImage(clean, noise, PATH)
        hook = blend_after_steps(background, masks, sigmas, path=PATH)
        x = sample_ddim(
            guided(unet, sigma_table, positive, negative), background.at(sigmas[0]), sigmas, after_step=hook
        )
    assert float((PATH.to_unit(x, sigmas[-1]) - theirs).abs().max()) <= 1e-9


@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_p17_a_map_of_nothing_keeps_the_image_and_a_map_of_all_is_plain_img2img(sigma_table, strength):
    generator = torch.Generator().manual_seed(5)
    clean, noise = (torch.randn(2, 4, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    count = steps_of_strength(10, strength)
    sigmas = make_schedule(sigma_table, 10).window(10 - count, 10).sigmas
    background = NoisedImage(clean, noise, PATH)

    def denoise(x, sigma):
        return torch.tanh(x) * 0.5

    plain = sample_ddim(denoise, background.at(sigmas[0]), sigmas)
    for value, expected in ((0.0, clean), (1.0, plain)):
        masks = masks_over_time(torch.full((2, 1, 8, 8), value, dtype=torch.float64), count, "change map")
        hook = blend_after_steps(background, masks, sigmas, path=PATH)
        assert torch.equal(sample_ddim(denoise, background.at(sigmas[0]), sigmas, after_step=hook), expected)
    assert not torch.allclose(plain, clean, atol=0.1)
    assert torch.equal(background.at(sigmas[0]), PATH.add_noise(clean, noise, sigmas[0]))
