"""Latent blending refuses inputs that would give garbage or just the source: flipped levels, an empty mask, another schedule."""

import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.blend_mask import RetraceBlendMask
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert

STEPS = 8


def paint(model, positive, latent, mask=None, trajectory=None, steps=STEPS, spacing="leading", **changes):
    inputs = {"seed": 3, "cfg": 1.0, "strength": 1.0, "kept_from": "matched", "mask_over_time": "constant"}
    rest = {"dilations": 3, "eta": 0.0, "terminal": "clean", "mask": mask, "trajectory": trajectory}
    return run_node(
        RetraceLatentBlendSample,
        model=model,
        positive=positive,
        negative=positive,
        latent=latent,
        steps=steps,
        spacing=spacing,
        **{**inputs, **rest, **changes},
    )


def run_blended(model, positive, latent, sigmas, sampler="euler", mask=None, trajectory=None):
    import comfy.sample
    import comfy.samplers

    kept_from = "matched" if trajectory is None else "trajectory"
    inner = comfy.samplers.sampler_object(sampler)
    blended = run_node(RetraceLatentBlend, sampler=inner, kept_from=kept_from, mask=mask, trajectory=trajectory).result[
        0
    ]
    samples = latent["samples"]
    return comfy.sample.sample_custom(
        model, comfy.sample.prepare_noise(samples, 3), 1.0, blended, sigmas, positive, positive, samples,
        noise_mask=latent.get("noise_mask"), disable_pbar=True, seed=3,
    )  # fmt: skip


@pytest.fixture
def mask():
    half = torch.zeros(1, 128, 128)
    half[:, :, 64:] = 1
    return half


@pytest.fixture
def silent_network(models, monkeypatch):
    """A model and its conditioning; calling the network fails the test."""
    model, cond = models("sd15")
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was called"))
    return model, cond


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_ascending_sigmas_are_refused(silent_network, latent, mask, sampler):
    message = (
        r"Latent Blend: the sigmas \[0.1, 1.0, 10.0\] do not descend from noise to image; give those of a scheduler"
    )
    with pytest.raises(ValueError, match=message):
        run_blended(*silent_network, latent, torch.tensor([0.1, 1.0, 10.0]), sampler, mask)


WAY_TO_PAINT = (
    r"is empty \(0 everywhere\), so that nothing would be painted; paint on the image in Load Image's mask editor"
)


@pytest.mark.parametrize(("mask", "noise_mask", "which"), [
    (torch.zeros(1, 128, 128), None, "the mask of image 1 of 2"),
    (torch.stack([torch.ones(16, 16), torch.zeros(16, 16)]), None, "the mask of image 2 of 2"),
    (None, torch.zeros(1, 1, 16, 16), "the mask of image 1 of 2"),
    (torch.eye(16)[None], 1 - torch.eye(16)[None, None], "the mask of image 1 of 2"),
])  # fmt: skip
def test_an_empty_mask_is_refused(silent_network, latent, mask, noise_mask, which):
    masked = latent if noise_mask is None else {**latent, "noise_mask": noise_mask}
    with pytest.raises(ValueError, match=f"Latent Blend Sample: {which} {WAY_TO_PAINT}, or invert the mask"):
        paint(*silent_network, masked, mask)
    with pytest.raises(ValueError, match=f"Latent Blend: {which} {WAY_TO_PAINT}, or invert the mask"):
        run_blended(*silent_network, masked, torch.tensor([10.0, 1.0, 0.0]), mask=mask)


@pytest.mark.parametrize(("mask", "changes"), [
    (torch.zeros(1, 64, 64), {}),
    (torch.ones(1, 64, 64), {"invert": True}),
    (torch.eye(64)[None], {"grow": -2}),
])  # fmt: skip
def test_blend_mask_refuses_what_leaves_nothing_to_paint(mask, changes):
    settings = {"invert": False, "fill_holes": True, "grow": 4, "feather": 0, "snap": 0.02, "latent_size": "maximum"}
    with pytest.raises(ValueError, match=f"Blend Mask: the mask {WAY_TO_PAINT}, or change invert, grow or snap"):
        run_node(RetraceBlendMask, mask=mask, **{**settings, **changes}, image=torch.zeros(1, 128, 128, 3))


def test_a_trajectory_of_other_steps_is_refused_with_what_each_node_can_change(models, latent, mask, monkeypatch):
    model, cond = models("sd15")
    trajectory = run_node(RetraceDDIMInvert, model=model, positive=cond, negative=cond, latent=latent, steps=4).result[
        0
    ]
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was called"))
    highest = f"above the trajectory's highest level {float(trajectory.sigmas[-1]):.4f}; give "
    for changes in ({"steps": 8}, {"steps": 4, "spacing": "trailing"}):
        with pytest.raises(ValueError, match=f"Latent Blend Sample: .*{highest}steps 4 and spacing 'leading', its own"):
            paint(model, cond, latent, mask, trajectory, kept_from="trajectory", **changes)
    with pytest.raises(ValueError, match=f"Latent Blend: .*{highest}the trajectory's own SIGMAS"):
        run_blended(model, cond, latent, torch.tensor([14.0, 1.0, 0.0]), mask=mask, trajectory=trajectory)
