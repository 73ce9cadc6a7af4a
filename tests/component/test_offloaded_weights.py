"""Weights that ComfyUI casts or offloads during a run: trajectories match its own samplers."""

from dataclasses import replace

import comfy.samplers
import comfy.sd
import miniatures
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from node_call import run_node
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent
from tiny_models.loader import layouts

MINIATURE = miniatures.CHECKPOINTS / "tiny_sd15.safetensors"


def load(**model_options):
    layouts.register()
    return comfy.sd.load_checkpoint_guess_config(
        str(MINIATURE), output_vae=False, output_clip=False, model_options=model_options, disable_dynamic=True
    )[0]


def fp8(_monkeypatch):
    return load(dtype=torch.float8_e4m3fn)


def offloaded(monkeypatch):
    """Half loaded, so that ComfyUI casts the other half layer by layer."""
    model = load()
    before = ModelPatcher.load

    def by_half(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
        before(self, device_to, self.model_size() // 2, force_patch_weights)

    monkeypatch.setattr(ModelPatcher, "load", by_half)
    return model


@pytest.fixture(params=[fp8, offloaded], ids=["fp8", "offloaded"])
def streamed(trained, request, monkeypatch):
    return replace(trained(), model=request.param(monkeypatch), steps=3)


def core_denoised(task, x, sigma):
    """ComfyUI's own guider, evaluated once: x [1, C, H, W] of a LATENT at level sigma -> x0 in the network's scale."""

    class Once(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image, *rest):
            return model_wrap(latent_image, sigma * torch.ones(1), **extra_args)

    guider = comfy.samplers.CFGGuider(task.model)
    guider.set_conds(task.source, task.source)
    guider.set_cfg(1.0)
    return guider.sample(torch.zeros_like(x), x, Once(), torch.stack([sigma, sigma * 0]), seed=0)


def test_every_step_upward_is_that_of_the_network_that_a_stock_sampler_asks(streamed, relative):
    plain = replace(streamed, iterations=0, steps=3).invert()
    for x, arrived, sigma, higher in zip(
        plain.latents[:-1], plain.latents[1:], plain.sigmas[:-1], plain.sigmas[1:], strict=True
    ):
        asked = x * ((1 + higher**2) / (1 + sigma**2)).sqrt()
        expected = x + (higher - sigma) / higher * (asked - core_denoised(streamed, asked, higher))
        assert relative(arrived, expected) < 1e-5


def test_downward_it_is_euler(streamed, relative):
    trajectory = streamed.invert()
    latent = run_node(RetraceTrajectoryLatent, trajectory=trajectory).result[0]
    ours = run_node(
        RetraceDDIMSample,
        model=streamed.model,
        positive=streamed.source,
        negative=streamed.negative,
        latent=latent,
        steps=streamed.steps,
    ).result[0]["samples"]
    assert relative(ours, streamed.k_sampler(trajectory, cfg=3.0)) < 1e-5


def test_they_are_those_of_float32_with_the_same_weights(trained, relative, monkeypatch):
    """An fp8 weight changes a trajectory by its own rounding, an offloaded one not at all."""
    short = replace(trained(), steps=3)
    whole = load()
    expected = replace(short, model=whole).invert().latents
    in_fp8 = replace(short, model=fp8(monkeypatch)).invert().latents
    assert relative(in_fp8, expected) > 1e-3
    for weight in whole.model.diffusion_model.parameters():
        weight.copy_(weight.to(torch.float8_e4m3fn))
    assert relative(in_fp8, replace(short, model=whole).invert().latents) < 1e-5
    model = offloaded(monkeypatch)
    assert relative(replace(short, model=model).invert().latents, expected) < 1e-5
    assert 0 < model.loaded_size() < model.model_size() and model.model.model_lowvram
