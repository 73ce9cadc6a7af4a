"""The first image of a batch gets the noise that it gets alone with the same seed."""

from dataclasses import replace

import comfy.sample
import pytest
import torch
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM


def ddim_sample(task):
    return RetraceDDIMSample.execute(
        task.model, task.source, task.negative, {"samples": task.samples}, 2**64 - 1, task.steps, 1.0, 0, 1000, True, 1.0,
        "leading", "clean", False, "",
    ).result[0]["samples"]  # fmt: skip


def sampler_ddim(task):
    sampler = RetraceSamplerDDIM.execute(1.0, {"limit": "none"}, False).result[0]
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
