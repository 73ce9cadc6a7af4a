"""Every node that evaluates the network, when the network fails.

If it raises, ComfyUI still knows its model and can unload it. If it returns NaN or infinity, no result leaves the node.
"""

import gc
import logging
from dataclasses import replace

import comfy.model_management
import pytest
import torch
from comfy.samplers import CFGGuider, sampler_object
from node_call import run_node
from random_edits import edit, p2p, rows
from random_models import random_model
from retrace_pack.host.attention_maps import read_noise, read_word_maps
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay
from retrace_pack.nodes.proximal_guidance import RetraceProximalGuidance

MASK = torch.ones(1, 8, 8)


def ddim_sample(task):
    return run_node(
        RetraceDDIMSample,
        model=task.model,
        positive=task.source,
        negative=task.negative,
        latent={"samples": task.samples},
        steps=task.steps,
    )


def latent_blend_sample(task):
    return run_node(
        RetraceLatentBlendSample,
        model=task.model,
        positive=task.source,
        negative=task.negative,
        latent={"samples": task.samples},
        steps=task.steps,
        cfg=3.0,
        dilations=0,
        mask=MASK,
    )


def guided(task, sampler):
    """A SAMPLER in a stock guider."""
    guider = CFGGuider(task.model)
    guider.set_conds(task.source, task.negative)
    guider.set_cfg(3.0)
    sigmas = task.model.get_model_object("model_sampling").sigmas[[900, 500, 100]]
    noise = torch.ones_like(task.samples)
    return guider.sample(noise, task.samples, sampler, torch.cat([sigmas, torch.zeros(1)]), disable_pbar=True, seed=0)


def sampler_ddim(task):
    return guided(task, run_node(RetraceSamplerDDIM, limit={"limit": "none"}).result[0])


def latent_blend(task, inner=None):
    sampler = inner or sampler_object("euler")
    return guided(task, run_node(RetraceLatentBlend, sampler=sampler, dilations=0, mask=MASK).result[0])


def pair(task, model):
    """A source and a target through a patched MODEL."""
    two = replace(task, model=model, source=rows(model, 1, 2), samples=task.samples.repeat(2, 1, 1, 1))
    return guided(two, sampler_object("euler"))


NODES = {
    "DDIM Invert": lambda task, trajectories: task.invert(),
    "Exact Invert, o-belm": lambda task, trajectories: task.exact("o-belm"),
    "Exact Invert, bdia": lambda task, trajectories: task.exact("bdia"),
    "Exact Invert, edict": lambda task, trajectories: task.exact("edict"),
    "Edit Friendly Invert": lambda task, trajectories: task.edit_friendly("ddpm"),
    "DDIM Sample": lambda task, trajectories: ddim_sample(task),
    "Sampler DDIM": lambda task, trajectories: sampler_ddim(task),
    "Latent Blend Sample": lambda task, trajectories: latent_blend_sample(task),
    "Latent Blend": lambda task, trajectories: latent_blend(task),
    "Null Text Optimize": lambda task, trajectories: task.optimize_node(trajectories["plain"]),
    "Edit Sample, plain": lambda task, trajectories: task.edit(trajectories["plain"]),
    "Edit Sample, pull_back": lambda task, trajectories: task.edit(trajectories["plain"], pull_back=0.5),
    "Edit Sample, source": lambda task, trajectories: task.edit(trajectories["plain"], source=task.negative),
    "Edit Sample, pair": lambda task, trajectories: task.edit(trajectories["pair"]),
    "Edit Sample, noise maps": lambda task, trajectories: task.edit(trajectories["noise maps"]),
}
PATCHES = {
    "Attention Mask, words": lambda task, trajectories: read_word_maps(
        task.model, trajectories["plain"], task.source, [3], [4]
    ),
    "Attention Mask, difference": lambda task, trajectories: read_noise(
        task.model, trajectories["plain"], task.source, [4]
    ),
    "Prompt to Prompt": lambda task, trajectories: pair(task, p2p(task.model, edit())),
    "MasaCtrl": lambda task, trajectories: pair(
        task, run_node(RetraceMasaCtrl, model=task.model, start_step=0, start_layer=0.0).result[0]
    ),
    "Plug and Play": lambda task, trajectories: pair(
        task, run_node(RetracePlugAndPlay, model=task.model).result[0]
    ),
    "Proximal Guidance": lambda task, trajectories: pair(
        task, run_node(RetraceProximalGuidance, model=task.model, shrinkage="hard").result[0]
    ),
}  # fmt: skip


@pytest.fixture
def whole(task):
    """A task with a model used by this test only, and trajectories of every kind made with it."""
    task = replace(task, model=random_model("sd15"), steps=4, iterations=0)
    trajectories = {"plain": task.invert(), "pair": task.exact("o-belm"), "noise maps": task.edit_friendly("ddpm")}
    return task, trajectories


def with_network(task, answer):
    """The task with another network, through a patched MODEL that nothing else references."""
    model = task.model.clone()
    model.set_model_unet_function_wrapper(answer)
    return replace(task, model=model)


def out_of_memory(apply_model, arguments):
    raise RuntimeError("out of memory")


def keep_until_collected(error):
    """Objects held by a traceback are freed by the next garbage collection, at once with the patched MODEL from upstream."""
    cycle = [error]
    cycle.append(cycle)


@pytest.mark.parametrize("run", [*NODES, *PATCHES])
def test_after_a_failure_the_model_can_be_unloaded(whole, caplog, run):
    task, trajectories = whole
    comfy.model_management.unload_all_models()
    with caplog.at_level(logging.INFO):
        try:
            {**NODES, **PATCHES}[run](with_network(task, out_of_memory), trajectories)
        except RuntimeError as error:
            assert "out of memory" in str(error)
            keep_until_collected(error)
        else:
            pytest.fail("the network was not evaluated")
        gc.collect()
        assert [loaded for loaded in comfy.model_management.current_loaded_models if loaded.is_dead()] == []
        comfy.model_management.free_memory(1e30, task.model.load_device)
    assert comfy.model_management.current_loaded_models == []
    assert "memory leak" not in caplog.text


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("run", [*NODES, "Attention Mask, difference"])
def test_no_result_leaves_a_node_when_the_network_overflows(whole, run, value):
    task, trajectories = whole
    broken = with_network(task, lambda apply_model, arguments: torch.full_like(arguments["input"], value))
    with pytest.raises(ValueError, match="NaN or infinite.*(--fp32-unet|float32)"):
        {**NODES, **PATCHES}[run](broken, trajectories)


@pytest.mark.parametrize("run", [run for run in NODES if run != "Null Text Optimize"])
def test_one_bad_pixel_at_one_level_is_enough(whole, run):
    task, trajectories = whole
    calls = []

    def once(apply_model, arguments):
        answer = apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        calls.append(answer)
        if len(calls) == 2:
            answer[:, 0, 0, 0] = torch.nan
        return answer

    name = run.split(",")[0]
    with pytest.raises(ValueError, match=f"^{name}: .*NaN or infinite values"):
        NODES[run](with_network(task, once), trajectories)
