"""Latent blending on rectified flows: what is kept is kept to the bit, and the rest is what the stock mask gives."""

import comfy.samplers
import pytest
import torch
from node_call import run_node
from random_flows import random_flow, random_image, random_prompt
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert

import nodes

STEPS = 6
FAMILIES = ("schnell", "qwen")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return random_flow(family)


@pytest.fixture
def mask():
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 3:7] = 1
    return mask


def inverted(model, family):
    prompts = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2)}
    return run_node(
        RetraceDDIMInvert, model=model, latent={"samples": random_image(family)}, steps=STEPS, **prompts
    ).result[0]


def painted(model, family, mask, **changes):
    prompts = {"positive": random_prompt(family, 5), "negative": random_prompt(family, 2)}
    given = {"latent": {"samples": random_image(family)}, "steps": STEPS, "cfg": 2.0, "seed": 4, "mask": mask}
    return run_node(RetraceLatentBlendSample, model=model, **{**given, **prompts, **changes}).result[0]["samples"]


def outside(mask, samples):
    return samples[..., mask[0] == 0]


def inside(mask, samples):
    return samples[..., mask[0] == 1]


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("kept_from", ["matched", "trajectory"])
def test_what_is_kept_is_the_image(model, family, mask, kept_from, strength):
    image, trajectory = random_image(family), inverted(model, family)
    result = painted(model, family, mask, kept_from=kept_from, trajectory=trajectory, strength=strength)
    torch.testing.assert_close(outside(mask, result), outside(mask, image), rtol=0, atol=1e-6)
    assert inside(mask, result - image).std() > 0.1


def test_an_inherited_noise_keeps_more_of_the_image(model, family, mask):
    image, given = random_image(family), {"kept_from": "trajectory", "trajectory": inverted(model, family)}
    given["positive"] = random_prompt(family, 1)
    inherited, fresh = (
        inside(mask, painted(model, family, mask, inherit_noise=inherit, cfg=1.0, **given) - image).std()
        for inherit in (True, False)
    )
    assert inherited < fresh


@pytest.mark.parametrize("own", [True, False])
def test_matched_equals_the_stock_noise_mask(model, family, mask, own):
    """Around stock euler, and after the steps of our DDIM, from the noise of one seed."""
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced

    latent = {"samples": random_image(family)}
    prompts = random_prompt(family, 5), random_prompt(family, 2)
    inner = RetraceSamplerDDIM.execute(0.0, {"limit": "none"}, False).result[0]
    sampler = run_node(
        RetraceLatentBlend, sampler=inner if own else comfy.samplers.sampler_object("euler"), mask=mask
    ).result[0]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*prompts)
    guider.set_cfg(2.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    ours = SamplerCustomAdvanced.execute(Noise_RandomNoise(4), guider, sampler, sigmas, latent).result[0]["samples"]
    masked = {**latent, "noise_mask": mask[None]}
    stocks = nodes.KSampler().sample(model, 4, STEPS, 2.0, "euler", "simple", *prompts, masked, 1.0)[0]["samples"]
    assert ours.shape == stocks.shape
    torch.testing.assert_close(ours, stocks, rtol=0, atol=1e-4)


def test_a_change_map_and_a_noise_mask_of_the_latent(model, family, mask):
    image = random_image(family)
    gray = torch.linspace(0, 1, 8).expand(1, 8, 8)
    changed = painted(model, family, gray, mask_over_time="change map", cfg=1.0) - image
    by_column = changed.square().flatten(0, -3).mean((0, 1))
    assert by_column[0] < 1e-12 and by_column[-1] > by_column[1]
    masked = {"samples": image, "noise_mask": mask[None]}
    torch.testing.assert_close(
        painted(model, family, None, latent=masked), painted(model, family, mask), rtol=0, atol=1e-6
    )


def test_the_old_pipeline_is_refused(model, family, mask):
    with pytest.raises(ValueError, match="^Latent Blend Sample: kept_from is 'legacy', .* the model is a flow"):
        painted(model, family, mask, kept_from="legacy")
