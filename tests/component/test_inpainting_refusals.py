"""Latent blending refuses what would end as garbage or as the source: flipped levels, an empty mask, another schedule."""

import pytest
import torch
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample

STEPS = 8


def paint(model, positive, latent, mask=None, trajectory=None, steps=STEPS, spacing="leading", **changes):
    inputs = {"seed": 3, "cfg": 1.0, "strength": 1.0, "kept_from": "matched", "mask_over_time": "constant"}
    rest = {"dilations": 3, "eta": 0.0, "terminal": "clean", "mask": mask, "trajectory": trajectory}
    return RetraceLatentBlendSample.execute(
        model, positive, positive, latent, steps=steps, spacing=spacing, **{**inputs, **rest, **changes}
    )


def run_blended(model, positive, latent, sigmas, sampler="euler", mask=None, trajectory=None):
    import comfy.sample
    import comfy.samplers

    kept_from = "matched" if trajectory is None else "trajectory"
    inner = comfy.samplers.sampler_object(sampler)
    blended = RetraceLatentBlend.execute(inner, kept_from, "constant", 3, mask, trajectory).result[0]
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
    """A model and its conditioning; a call of the network fails the test."""
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
