"""The trained miniatures through ComfyUI's stock loader: compared with diffusers on the same weights, and inverted faithfully."""

from functools import cache

import miniatures
import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from node_call import run_node
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent
from tiny_models.world.captions import caption
from tiny_models.world.render import render
from tiny_models.world.scene import random_scene

CHECKPOINTS = ["tiny_sd15", "tiny_sd2_v"]
FACTOR = 0.18215


@pytest.fixture(scope="module")
def tiny():
    """Checkpoint name -> (MODEL, CLIP, VAE) from the stock loader, each loaded once."""
    return cache(miniatures.load)


def encode(clip, text: str):
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def held_out(count: int, seed: int = 3):
    """Held-out scenes and the middle of their pictures as an IMAGE [B, 128, 128, 3]."""
    chosen = [random_scene(np.random.default_rng((seed, index)), 1, held_out=True) for index in range(count)]
    pictures = np.stack([render(scene, seed=seed)[64:192, 64:192] for scene in chosen])
    return chosen, torch.from_numpy(pictures).float() / 255


def captions_conditioning(clip, chosen):
    return [[torch.cat([encode(clip, caption(scene))[0][0] for scene in chosen]), {}]]


def invert(model, positive, samples, steps=50, cfg=1.0, iterations=0, spacing="leading", terminal="clean"):
    return run_node(
        RetraceDDIMInvert,
        model=model,
        positive=positive,
        negative=positive,
        latent={"samples": samples},
        steps=steps,
        cfg=cfg,
        fixed_point_iterations=iterations,
        spacing=spacing,
        terminal=terminal,
    ).result[0]


def sample(model, positive, latent, negative=None, steps=50, cfg=1.0, start_step=0, terminal="clean"):
    return run_node(
        RetraceDDIMSample,
        model=model,
        positive=positive,
        negative=negative or positive,
        latent=latent,
        steps=steps,
        cfg=cfg,
        start_step=start_step,
        terminal=terminal,
    ).result[0]["samples"]


def reference(name: str, set_alpha_to_one: bool):
    """The same weights in diffusers: (UNet and text encoder, forward scheduler, inverse scheduler, vocabulary)."""
    model, words = miniatures.reference(name)
    settings = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
        "set_alpha_to_one": set_alpha_to_one, "steps_offset": 1,
    }  # fmt: skip
    forward, inverse = DDIMScheduler(**settings), DDIMInverseScheduler(**settings)
    forward.set_timesteps(50)
    inverse.set_timesteps(50)
    return model, forward, inverse, words


def predicted_eps(name, scheduler, output, x, t):
    """v to eps at the level at which the network was evaluated (diffusers' own inverse uses another one)."""
    if name == "tiny_sd15":
        return output
    abar = scheduler.alphas_cumprod[t]
    return abar.sqrt() * output + (1 - abar).sqrt() * x


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_prompts_are_encoded_as_transformers_does(tiny, relative, name):
    model, _, _, words = reference(name, True)
    text = "a photo of a small white cone on a stone floor, gray wall"
    ours = encode(tiny(name)[1], text)[0][0]
    expected = model.text_encoder(words.rows([text], pad_with_end=name == "tiny_sd15")).last_hidden_state
    assert relative(ours, expected) < 1e-4


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("terminal", ["clean", "first"])
def test_a_whole_sample_equals_diffusers(tiny, relative, name, terminal):
    model, clip, _ = tiny(name)
    positive, negative = encode(clip, "a photo of a large red ball on a tiled floor, blue wall"), encode(clip, "")
    network, scheduler, _, _ = reference(name, terminal == "clean")
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    x = noise
    for t in scheduler.timesteps.tolist():
        both = network.unet(torch.cat([x, x]), t, torch.cat([negative[0][0], positive[0][0]])).sample
        empty, full = predicted_eps(name, scheduler, both, torch.cat([x, x]), t).chunk(2)
        x = scheduler.step(empty + 3.0 * (full - empty), t, x).prev_sample
    sigma = model.get_model_object("model_sampling").sigmas[int(scheduler.timesteps[0])]
    state = {"samples": noise * (1 + sigma**2).sqrt() / FACTOR}
    ours = sample(model, positive, state, negative, cfg=3.0, terminal=terminal) * FACTOR
    assert relative(ours, x) < 1e-4


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("terminal", ["clean", "first"])
def test_p4_a_whole_inversion_equals_diffusers(tiny, relative, name, terminal):
    model, clip, vae = tiny(name)
    chosen, pictures = held_out(1)
    samples = vae.encode(pictures)
    positive = captions_conditioning(clip, chosen)
    network, _, inverse, _ = reference(name, terminal == "clean")
    x = samples * FACTOR
    expected = [x]
    for t in inverse.timesteps.tolist():
        output = network.unet(x, t, positive[0][0]).sample
        x = inverse.step(predicted_eps(name, inverse, output, x, t), t, x).prev_sample
        expected.append(x)
    trajectory = invert(model, positive, samples, terminal=terminal)
    for state, sigma, wanted in zip(trajectory.latents, trajectory.sigmas, expected, strict=True):
        assert relative(state * FACTOR / (1 + sigma**2).sqrt(), wanted) < 1e-4


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_reconstruction_at_cfg_1(tiny, name):
    """Decoded, against the VAE's own round trip: at least 45 dB with 4 fixed-point iterations, and better with each more."""
    model, clip, vae = tiny(name)
    chosen, pictures = held_out(1)
    positive = captions_conditioning(clip, chosen)
    samples = vae.encode(pictures)
    roundtrip = vae.decode(samples)
    psnr = []
    for iterations in (0, 1, 4):
        trajectory = invert(model, positive, samples, steps=25, iterations=iterations)
        rebuilt = sample(model, positive, {"samples": trajectory.latents[-1]}, steps=25)
        psnr.append(compare_images(vae.decode(rebuilt), roundtrip).mean_psnr)
    assert psnr == sorted(psnr) and psnr[0] < psnr[-1] - 5
    assert psnr[-1] >= 45


@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("steps", [7, 30, 50])
def test_sampler_custom_advanced_continues_a_trajectory(tiny, relative, name, steps):
    from comfy_extras.nodes_custom_sampler import BasicGuider, DisableNoise, KSamplerSelect, SamplerCustomAdvanced

    model, clip, vae = tiny(name)
    chosen, pictures = held_out(1)
    positive = captions_conditioning(clip, chosen)
    trajectory = invert(model, positive, vae.encode(pictures), steps=steps, iterations=2)
    start_step = steps // 5
    latent, sigmas = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=start_step).result
    ours = sample(model, positive, latent, steps=steps, start_step=start_step)
    (noise,) = DisableNoise.execute().result
    (guider,) = BasicGuider.execute(model, positive).result
    (sampler,) = KSamplerSelect.execute("euler").result
    stock = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    assert relative(ours, stock) < 1e-4


@pytest.mark.parametrize("sampler_name", ["euler", "ddim"])
@pytest.mark.parametrize("steps", [20, 50])
def test_ksampler_advanced_continues_a_trajectory(tiny, relative, sampler_name, steps):
    import nodes

    model, clip, vae = tiny("tiny_sd15")
    chosen, pictures = held_out(1)
    positive = captions_conditioning(clip, chosen)
    trajectory = invert(model, positive, vae.encode(pictures), steps=steps)
    start_step = steps // 5
    latent = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=start_step).result[0]
    ours = sample(model, positive, latent, steps=steps, start_step=start_step)
    stock = nodes.KSamplerAdvanced().sample(
        model,
        "disable",
        0,
        steps,
        1.0,
        sampler_name,
        "ddim_uniform",
        positive,
        positive,
        latent,
        start_step,
        10000,
        "disable",
    )[0]["samples"]
    assert relative(ours, stock) < 1e-4


def test_a_lora_takes_part_in_the_inversion(tiny, relative):
    model, clip, vae = tiny("tiny_sd15")
    chosen, pictures = held_out(1)
    positive, samples = captions_conditioning(clip, chosen), vae.encode(pictures)
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"
    weight = model.model_state_dict()[key]
    patched = model.clone()
    patched.add_patches({key: (torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.1,)})
    plain, other = (invert(each, positive, samples, steps=20, iterations=6).latents[-1] for each in (model, patched))
    assert relative(other, plain) > 1e-3
    back = sample(patched, positive, {"samples": other}, steps=20)
    wrong = sample(model, positive, {"samples": other}, steps=20)
    assert float((back - samples).square().mean()) < 0.2 * float((wrong - samples).square().mean())


def test_the_autoencoder_keeps_a_picture(tiny):
    """The benchmark has 30 dB on 200 whole ones; their middles hold the solids, and most of what is hard."""
    _, _, vae = tiny("tiny_sd15")
    _, pictures = held_out(8, seed=11)
    assert compare_images(vae.decode(vae.encode(pictures)), pictures).mean_psnr >= 27
