"""Null-text optimization through ComfyUI against the published loop (P5): its losses, its result, its work."""

import miniatures
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from retrace_pack.inversion.null_text import NullTextOptions

FACTOR = 0.18215


def published(task, trajectory, inner_steps, epsilon):
    """The loop of Mokady et al. on diffusers' UNet and scheduler: (losses of every step, the image's latent).

    Rewritten from their published code: the embedding carries over from step to step, every step has a new Adam, the stop is
    checked after the optimizer's step, and one guided batch of two concludes the step.
    """
    with torch.inference_mode(False), torch.enable_grad():
        unet = miniatures.reference()[0].unet
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        scheduler.set_timesteps(trajectory.steps)
        scale = (1 + trajectory.sigmas.clone() ** 2).sqrt().view(-1, 1, 1, 1, 1)
        pivots = trajectory.latents.clone() * FACTOR / scale
        text, null = task.source[0][0].clone(), task.negative[0][0].clone()
        z, losses = pivots[-1], []
        for i, t in enumerate(scheduler.timesteps.tolist()):
            null = null.clone().detach().requires_grad_(True)
            optimizer = torch.optim.Adam([null], lr=1e-2 * (1.0 - i / 100.0))
            with torch.no_grad():
                eps_text = unet(z, t, text).sample
            losses.append([])
            for _ in range(inner_steps):
                eps_null = unet(z, t, null).sample
                eps = eps_null + task.cfg * (eps_text - eps_null)
                loss = F.mse_loss(scheduler.step(eps, t, z).prev_sample, pivots[len(pivots) - 2 - i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[-1].append(loss.item())
                if loss.item() < epsilon + i * 2e-5:
                    break
            with torch.no_grad():
                eps_null, eps_text = unet(torch.cat([z, z]), t, torch.cat([null, text])).sample.chunk(2)
                z = scheduler.step(eps_null + task.cfg * (eps_text - eps_null), t, z).prev_sample
    return losses, z / FACTOR


@pytest.fixture(scope="module")
def reference(trained):
    """(A trajectory that ends at the first level like the published code's, the optimized one, the record)."""
    with torch.inference_mode():
        task = trained()
        trajectory = task.invert("first")
        return trajectory, *task.optimize(trajectory, "reference", inner_steps=10)


def test_p5_reference_equals_the_published_loop(trained, reference):
    """Ten steps for time's sake. Where the loop stops early is held against the published code in the unit tests."""
    task = trained()
    trajectory, optimized, ours = reference
    losses, expected = published(task, trajectory, 10, NullTextOptions().epsilon)
    rebuilt = task.edit(optimized)[0]
    assert [len(step) for step in ours.losses] == [len(step) for step in losses]
    for ours_of_step, of_step in zip(ours.losses, losses, strict=True):
        assert ours_of_step == pytest.approx(of_step, rel=1e-2)
    assert task.psnr(rebuilt) == pytest.approx(task.psnr(expected), abs=0.05)


def test_p5_fast_is_as_good_as_the_reference_at_half_of_its_work(trained, reference):
    """With four inner steps; more of them go on to what the reference does not reach at all."""
    task = trained()
    trajectory, theirs, record = reference
    optimized, ours = task.optimize(trajectory, inner_steps=4)
    psnr, expected, unguided = (task.psnr(task.edit(each)[0]) for each in (optimized, theirs, trajectory))
    assert ours.unet_work <= record.unet_work / 2
    assert psnr >= expected > unguided + 1


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_p5_no_inner_steps_are_plain_guidance(short_task, relative, method):
    task = short_task()
    trajectory = task.invert()
    optimized, record = task.optimize(trajectory, method, inner_steps=0)
    assert torch.equal(optimized.null_text.embeddings, task.negative[0][0].expand(task.steps, -1, -1))
    assert relative(task.edit(optimized)[0], task.edit(trajectory)[0]) < 1e-5
    assert record.unet_work == task.steps * {"fast": 2, "reference": 3}[method]
