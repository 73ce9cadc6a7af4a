"""The first image of a batch gets the noise that it gets alone with the same seed."""

from dataclasses import replace

import comfy.sample
import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM


def ddim_sample(task):
    return run_node(
        RetraceDDIMSample,
        model=task.model,
        positive=task.source,
        negative=task.negative,
        latent={"samples": task.samples},
        seed=2**64 - 1,
        steps=task.steps,
        cfg=1.0,
        add_noise=True,
        eta=1.0,
    ).result[0]["samples"]


def sampler_ddim(task):
    sampler = run_node(RetraceSamplerDDIM, eta=1.0, limit={"limit": "none"}).result[0]
    noise = comfy.sample.prepare_noise(task.samples, 4)
    return comfy.sample.sample_custom(
        task.model, noise, 1.0, sampler, torch.tensor([9.0, 5.0, 2.0, 0.0]), task.source, task.negative, task.samples,
        disable_pbar=True, seed=4,
    )  # fmt: skip


NODES = {
    "Edit Friendly Invert": lambda task: task.edit_friendly("ddpm").latents.movedim(1, 0),
    "DDIM Sample": ddim_sample,
    "Sampler DDIM": sampler_ddim,
}


@pytest.mark.parametrize("run", NODES.values(), ids=NODES.keys())
def test_the_first_image_is_as_alone(random_task, relative, run):
    two = random_task(images=2)
    twins = replace(two, samples=two.samples[:1].repeat(2, 1, 1, 1))
    batch, alone = run(twins), run(replace(two, samples=two.samples[:1]))
    assert relative(batch[:1], alone) < 1e-4
    assert relative(batch[1:], alone) > 1e-2
