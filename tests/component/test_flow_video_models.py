"""Pictures on the networks of video models (Wan, Anima): one frame goes through every kind of inversion and comes back."""

import comfy.samplers
import pytest
import torch
from node_call import run_node
from random_flows import VIDEO_CONFIGS, random_flow, random_image, random_prompt
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from retrace_pack.nodes.inpainting import RetraceLatentBlendSample

STEPS = 6


@pytest.fixture(scope="module", params=VIDEO_CONFIGS)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return random_flow(family)


def inverted(model, family, node, **changes):
    prompts = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2)}
    return run_node(node, model=model, latent={"samples": random_image(family)}, steps=STEPS, **prompts, **changes)


def back(model, family, trajectory, **changes):
    given = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2), "cfg": 1.0, **changes}
    return run_node(RetraceEditSample, model=model, trajectory=trajectory, **given).result


def missed(samples, family):
    return float((samples["samples"] - random_image(family)).abs().max())


def test_f1_f3_a_frame_comes_back_aligned_and_the_noise_continues_in_stock_euler(model, family):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    trajectory, noise, _, sigmas = inverted(model, family, RetraceFlowInvert).result
    assert missed(back(model, family, trajectory)[0], family) <= 1e-6
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(random_prompt(family, 1), random_prompt(family, 2))
    latent, euler = {"samples": random_image(family)}, comfy.samplers.sampler_object("euler")
    stock = SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]["samples"]
    plain = back(model, family, trajectory, align="off")[0]["samples"]
    assert stock.shape == plain.shape == random_image(family).shape
    assert float((stock - plain).abs().max()) <= 1e-5


def test_an_edit_of_another_length_leaves_its_source(model, family):
    trajectory = inverted(model, family, RetraceFlowInvert).result[0]
    edit = {"positive": random_prompt(family, 5, tokens=12), "source": random_prompt(family, 1), "cfg": 3.0}
    edited, source = back(model, family, trajectory, **edit)
    assert missed(source, family) <= 1e-6 and missed(edited, family) > 1e-2


@pytest.mark.parametrize("node", [RetraceExactInvert, RetraceEditFriendlyInvert])
def test_f7_pairs_and_noise_maps_come_back_at_the_cfg_of_the_inversion(model, family, node):
    (trajectory,) = inverted(model, family, node, cfg=5.0).result
    assert missed(back(model, family, trajectory, cfg=5.0)[0], family) < 1e-4


def test_what_is_not_painted_stays(model, family):
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:6, 3:7] = 1
    given = {"positive": random_prompt(family, 5), "negative": random_prompt(family, 2), "cfg": 2.0, "mask": mask}
    image = random_image(family)
    (result,) = run_node(RetraceLatentBlendSample, model=model, latent={"samples": image}, steps=STEPS, **given).result
    changed = (result["samples"] - image)[0].abs().amax((0, 1))
    assert float(changed[mask[0] == 0].max()) <= 1e-6 and float(changed[mask[0] == 1].max()) > 0.1
