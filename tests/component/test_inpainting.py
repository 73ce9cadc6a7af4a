"""Latent blending through ComfyUI's guider: the nodes against the pure form, core's own masking, and what is refused."""

import logging

import pytest
import torch
from node_call import run_node
from random_models import random_conditioning
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.schedules import RetraceDDIMScheduler
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

STEPS = 8


def paint(model, positive, latent, mask=None, trajectory=None, **changes):
    inputs = {
        "seed": 3, "steps": STEPS, "cfg": 1.0, "strength": 1.0, "kept_from": "matched", "mask_over_time": "constant",
        "dilations": 3, "eta": 0.0, "spacing": "leading", "terminal": "clean", "inherit_noise": False,
    }  # fmt: skip
    return run_node(
        RetraceLatentBlendSample,
        model=model,
        positive=positive,
        negative=positive,
        latent=latent,
        **{**inputs, **changes},
        mask=mask,
        trajectory=trajectory,
    )


def invert(model, positive, latent, steps=STEPS):
    return run_node(
        RetraceDDIMInvert,
        model=model,
        positive=positive,
        negative=positive,
        latent=latent,
        steps=steps,
        fixed_point_iterations=3,
    ).result[0]


def ddim():
    return run_node(RetraceSamplerDDIM, limit={"limit": "none"}).result[0]


def euler(name="euler"):
    import comfy.samplers

    return comfy.samplers.sampler_object(name)


def levels(model, start=0, steps=STEPS):
    return run_node(RetraceDDIMScheduler, model=model, steps=steps, start_step=start).result[0]


def run(model, positive, latent, sampler, sigmas, noise=None):
    import comfy.sample

    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, 3) if noise is None else noise
    return comfy.sample.sample_custom(
        model, noise, 1.0, sampler, sigmas, positive, positive, samples, noise_mask=latent.get("noise_mask"),
        disable_pbar=True, seed=3,
    )  # fmt: skip


def half_mask(batch=1, size=128):
    mask = torch.zeros(batch, size, size)
    mask[:, :, size // 2 :] = 1
    return mask


@pytest.fixture
def mask():
    """Half of the picture, in pixels."""
    return half_mask()


@pytest.mark.parametrize("layout", ["sd15", "sd2_v", "sdxl"])
@pytest.mark.parametrize("kept_from", ["legacy", "matched", "trajectory"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_the_kept_part_is_the_latent_itself_and_the_rest_is_new(models, latent, mask, layout, kept_from, strength):
    model, cond = models(layout)
    trajectory = invert(model, cond, latent) if kept_from == "trajectory" else None
    output = paint(model, cond, latent, mask, trajectory, kept_from=kept_from, strength=strength)
    result, before = output.result[0]["samples"], latent["samples"]
    torch.testing.assert_close(result[..., :8], before[..., :8], rtol=1e-5, atol=1e-5)
    assert float((result[..., 8:] - before[..., 8:]).abs().mean()) > 0.1
    assert output.ui["text"] == (f"{int(STEPS * strength)} model evaluations",)


@pytest.mark.parametrize(("kept_from", "strength"), [
    ("legacy", 1.0), ("legacy", 0.5), ("matched", 1.0), ("matched", 0.5), ("trajectory", 0.5),
])  # fmt: skip
def test_the_node_is_the_pure_loop(models, latent, kept_from, strength):
    """Through loader, guider and latent format against the loop that the parity tests hold; gray masks, terminal first."""
    import comfy.sample
    from retrace_pack.samplers.blending import InvertedImage, NoisedImage, blend, blend_after_steps, masks_over_time
    from retrace_pack.samplers.ddim import sample_ddim
    from retrace_pack.samplers.path import VarianceExploding
    from retrace_pack.samplers.schedule import make_schedule

    model, cond = models("sd15")
    gray = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(5))
    trajectory = invert(model, cond, latent) if kept_from == "trajectory" else None
    ours = paint(
        model, cond, latent, gray, trajectory, kept_from=kept_from, strength=strength, terminal="first"
    ).result[0]["samples"]  # fmt: skip

    inner = model.model
    count = int(STEPS * strength)
    table = model.get_model_object("model_sampling").sigmas
    sigmas = make_schedule(table, STEPS, terminal="first").window(STEPS - count, STEPS).sigmas
    clean = inner.process_latent_in(latent["samples"])
    noise = comfy.sample.prepare_noise(latent["samples"], 3)
    path = VarianceExploding()
    noised = NoisedImage(clean, noise, path)
    background = noised
    if trajectory is not None:
        background = InvertedImage(inner.process_latent_in(trajectory.latents), trajectory.sigmas, path)
    masks = masks_over_time(gray[:, None], count)
    x = path.from_unit(noise, sigmas[0]) if (kept_from, strength) == ("matched", 1.0) else noised.at(sigmas[0])
    if trajectory is not None:
        x = blend(x, background.at(sigmas[0]), masks[0])
    context = cond[0][0].expand(2, -1, -1)

    def denoise(x, sigma):
        return inner.apply_model(x, sigma.expand(2), c_crossattn=context)

    hook = blend_after_steps(background, masks, sigmas, path=path, legacy=kept_from == "legacy")
    expected = path.to_unit(sample_ddim(denoise, x, sigmas, after_step=hook), sigmas[-1])
    expected = inner.process_latent_out(expected)
    assert float((ours - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "uni_pc", "euler_ancestral", "lcm", "dpmpp_2m_sde"])
@pytest.mark.parametrize("kept_from", ["matched", "trajectory"])
def test_every_kind_of_sampler_can_be_wrapped(models, latent, mask, name, kept_from):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent) if kept_from == "trajectory" else None
    sampler = run_node(
        RetraceLatentBlend, sampler=euler(name), kept_from=kept_from, mask=mask, trajectory=trajectory
    ).result[0]
    result = run(model, cond, latent, sampler, levels(model, 2))
    torch.testing.assert_close(result[..., :8], latent["samples"][..., :8], rtol=1e-5, atol=1e-5)
    assert float((result[..., 8:] - latent["samples"][..., 8:]).abs().mean()) > 0.05


@pytest.mark.parametrize("kept_from", ["matched", "trajectory"])
def test_a_wrapped_euler_is_the_wrapped_ddim_for_a_hard_mask(models, latent, mask, kept_from):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent) if kept_from == "trajectory" else None
    results = [
        run(
            model, cond, latent,
            run_node(RetraceLatentBlend, sampler=each, kept_from=kept_from, mask=mask, trajectory=trajectory).result[0],
            levels(model, 2),
        )
        for each in (ddim(), euler())
    ]  # fmt: skip
    assert float((results[0] - results[1]).abs().max() / results[0].abs().max()) < 1e-4


def test_matched_is_cores_noise_mask(models, latent, mask):
    """Around euler, hard and soft: our matched blending is what SetLatentNoiseMask does."""
    model, cond = models("sd15")
    soft = torch.linspace(0, 1, 16).expand(1, 16, 16)
    for each in (torch.nn.functional.interpolate(mask[:, None], (16, 16), mode="area")[:, 0], soft):
        sampler = run_node(RetraceLatentBlend, sampler=euler(), mask=each).result[0]
        ours = run(model, cond, latent, sampler, levels(model, 2))
        core = run(model, cond, {**latent, "noise_mask": each[:, None]}, euler(), levels(model, 2))
        assert float((ours - core).abs().max() / core.abs().max()) < 1e-6


def test_the_noise_mask_of_the_latent_is_honoured_alone_and_with_a_mask(models, latent, mask):
    model, cond = models("sd15")
    top = torch.zeros(1, 1, 16, 16)
    top[:, :, :8] = 1
    masked = {**latent, "noise_mask": top}
    alone = paint(model, cond, masked).result[0]["samples"]
    both = paint(model, cond, masked, mask).result[0]["samples"]
    before = latent["samples"]
    torch.testing.assert_close(alone[:, :, 8:], before[:, :, 8:], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(alone[:, :, :8, :8], before[:, :, :8, :8], atol=0.1)
    torch.testing.assert_close(both[:, :, :8, :8], before[:, :, :8, :8], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(both[:, :, :8, 8:], before[:, :, :8, 8:], atol=0.1)


def test_differential_diffusion_on_the_model_is_honoured(models, latent):
    from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion

    model, cond = models("sd15")
    (patched,) = DifferentialDiffusion.execute(model, 1.0).result
    change = torch.linspace(0, 1, 16).expand(1, 1, 16, 16)
    masked = {**latent, "noise_mask": change}
    for sampler in (euler(), ddim()):
        blended = run_node(RetraceLatentBlend, sampler=sampler).result[0]
        ours = run(patched, cond, masked, blended, levels(model))
        core = run(patched, cond, masked, euler(), levels(model))
        assert float((ours - core).abs().max() / core.abs().max()) < 1e-4
    plain = run(model, cond, masked, run_node(RetraceLatentBlend, sampler=ddim()).result[0], levels(model))
    assert not torch.allclose(plain, core, atol=0.05)


def test_a_change_map_keeps_dark_longer_than_bright(models, latent):
    model, cond = models("sd15")
    change = torch.tensor([0.0, 0.3, 0.6, 1.0]).repeat_interleave(4).expand(1, 16, 16)
    result = paint(model, cond, latent, change, mask_over_time="change map").result[0]["samples"]
    moved = (result - latent["samples"]).abs().mean((0, 1, 2)).view(4, 4).mean(1)
    assert float(moved[0]) < 1e-5 and float(moved[0]) < float(moved[1]) < float(moved[3])


def test_shrinking_changes_the_inside_and_keeps_the_outside(models, latent):
    model, cond = models("sd15")
    thin = torch.zeros(1, 128, 128)
    thin[:, :, 64:72] = 1
    constant, shrinking = (
        paint(model, cond, latent, thin, mask_over_time=each).result[0]["samples"] for each in ("constant", "shrinking")
    )
    before = latent["samples"]
    for result in (constant, shrinking):
        torch.testing.assert_close(result[..., :8], before[..., :8], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(result[..., 9:], before[..., 9:], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(constant[..., 8], shrinking[..., 8], atol=0.02)


def test_a_full_mask_keeps_nothing_of_the_latent(models, latent):
    model, cond = models("sd15")
    empty = {"samples": torch.zeros_like(latent["samples"])}
    result, noise_only = (
        paint(model, cond, each, torch.ones(1, 64, 64)).result[0]["samples"] for each in (latent, empty)
    )
    torch.testing.assert_close(result, noise_only, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("strength", [0.0, 0.1])
def test_a_strength_that_leaves_no_step_passes_the_latent_on_and_says_so(models, latent, mask, strength, caplog):
    model, cond = models("sd15")
    with caplog.at_level(logging.WARNING):
        output = paint(model, cond, latent, mask, strength=strength)
    assert output.result[0] is latent
    said = f"strength {strength:g} of {STEPS} steps leaves no step: the latent is passed on as it is"
    assert output.ui["text"] == (said,) and f"Latent Blend Sample: {said}" in caplog.text


def test_rows_can_have_masks_of_their_own(models, latent):
    model, cond = models("sd15")
    masks = torch.cat([half_mask(), 1 - half_mask()])
    result, before = paint(model, cond, latent, masks).result[0]["samples"], latent["samples"]
    torch.testing.assert_close(result[0, ..., :8], before[0, ..., :8], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result[1, ..., 8:], before[1, ..., 8:], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(result[1, ..., :8], before[1, ..., :8], atol=0.1)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_row_taken_out_of_a_batch_gets_its_own_noise(models, latent, mask, strength):
    """By the batch_index that Latent From Batch sets, as in core."""
    import nodes

    model, cond = models("sd15")
    batch = {"samples": latent["samples"].repeat(2, 1, 1, 1)}
    (alone,) = nodes.LatentFromBatch().frombatch(batch, 2, 1)
    ours, row = (paint(model, cond, each, mask, strength=strength).result[0]["samples"] for each in (alone, batch))
    torch.testing.assert_close(ours[0], row[2], rtol=1e-4, atol=1e-4)


def test_an_inverted_latent_without_noise_can_be_what_is_painted_from(models, latent, mask):
    """With DisableNoise the inside starts from the inversion itself: under the same prompt the image comes back."""
    model, cond = models("sd15")
    trajectory = run_node(
        RetraceDDIMInvert, model=model, positive=cond, negative=cond, latent=latent, steps=40, fixed_point_iterations=4
    ).result[0]
    state, sigmas = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=20).result
    for sampler in (ddim(), euler()):
        blended = run_node(
            RetraceLatentBlend, sampler=sampler, kept_from="trajectory", mask=mask, trajectory=trajectory
        ).result[0]
        result = run(model, cond, state, blended, sigmas, torch.zeros_like(state["samples"]))
        assert relative_error(result, latent) < 0.05


def relative_error(result, latent):
    return float((result - latent["samples"]).square().mean().sqrt() / latent["samples"].std())


def test_the_noise_inside_can_be_the_trajectorys_own(models, latent, mask):
    """Under the prompt of the inversion the whole image comes back, inside the mask too, whatever the seed."""
    model, cond = models("sd15")
    trajectory = run_node(
        RetraceDDIMInvert, model=model, positive=cond, negative=cond, latent=latent, steps=20, fixed_point_iterations=4
    ).result[0]
    changes = {"kept_from": "trajectory", "steps": 20, "strength": 0.5}
    own, fresh = (
        paint(model, cond, latent, mask, trajectory, inherit_noise=inherited, **changes).result[0]["samples"]
        for inherited in (True, False)
    )
    assert relative_error(own, latent) < 0.1 < 0.5 < relative_error(fresh, latent)
    # At strength 1 the state before the first step is the trajectory's last, not the seed's noise.
    first, second = (
        paint(model, cond, latent, mask, trajectory, inherit_noise=True, **{**changes, "strength": 1.0, "seed": seed})
        for seed in (1, 2)
    )
    assert torch.equal(*(each.result[0]["samples"] for each in (first, second)))


def test_one_inverted_image_gives_its_noise_to_every_row_of_a_batch(models, latent, mask):
    """Each row under a prompt of its own, from the first evaluation on."""
    model, cond = models("sd15")
    other = random_conditioning(model, 5)
    both = [[torch.cat([cond[0][0], other[0][0]]), cond[0][1]]]
    single = {"samples": latent["samples"][:1]}
    twice = {"samples": single["samples"].repeat(2, 1, 1, 1)}
    trajectory = invert(model, cond, single)

    def painted(positive, batch):
        changes = {"kept_from": "trajectory", "inherit_noise": True}
        return paint(model, positive, batch, mask, trajectory, **changes).result[0]["samples"]

    alone = torch.cat([painted(cond, single), painted(other, single)])
    torch.testing.assert_close(painted(both, twice), alone, rtol=1e-3, atol=1e-3)
    assert relative_error(alone[:1], {"samples": alone[1:]}) > 0.01


def test_nothing_is_changed_in_place(models, latent, mask):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent)
    before = latent["samples"].clone(), mask.clone(), trajectory.latents.clone()
    paint(model, cond, latent, mask, trajectory, kept_from="trajectory", mask_over_time="shrinking")
    assert all(map(torch.equal, before, (latent["samples"], mask, trajectory.latents)))


@pytest.mark.parametrize(("changes", "message"), [
    ({"mask": None}, "there is no mask; connect one, or give the latent one with Set Latent Noise Mask"),
    ({"mask": torch.full((1, 16, 16), float("nan"))}, "the mask holds NaN or infinite values"),
    ({"mask": torch.full((1, 16, 16), 255.0)}, "the mask's values run from 255 to 255"),
    ({"mask": torch.ones(3, 16, 16)}, "there are 3 masks for a latent batch of 2; give one mask, or one for each"),
    ({"kept_from": "trajectory"}, "kept_from is 'trajectory', but there is no trajectory; connect DDIM Invert"),
    ({"inherit_noise": True}, "inherit_noise is on, but kept_from is 'matched', which has no inverted image"),
    ({"strength": 1.5}, "strength is 1.5, but it must be a number from 0"),
    ({"strength": float("nan")}, "strength is nan, but it must be a number from 0"),
    ({"steps": 1000}, "begin at timestep 1000, beyond the model's last"),
])  # fmt: skip
def test_bad_input_is_refused_before_any_network_call(models, latent, mask, monkeypatch, changes, message):
    model, cond = models("sd15")
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was evaluated"))
    with pytest.raises(ValueError, match=f"Latent Blend Sample: {message}|Latent Blend Sample: .*{message}"):
        paint(model, cond, latent, **{"mask": mask, **changes})


def test_the_sampler_refuses_what_it_cannot_wrap(models, latent, mask):
    model, cond = models("sd15")
    with pytest.raises(
        ValueError, match="Latent Blend: kept_from 'legacy' blends after each DDIM step, .* 'sample_euler'"
    ):
        run_node(RetraceLatentBlend, sampler=euler(), kept_from="legacy", mask=mask)
    blended = run_node(RetraceLatentBlend, sampler=ddim(), mask=mask).result[0]
    with pytest.raises(ValueError, match="Latent Blend: the sampler is a BlendSampler, which cannot be wrapped"):
        run_node(RetraceLatentBlend, sampler=blended, mask=mask)
    with pytest.raises(ValueError, match="Latent Blend: kept_from is 'trajectory', but there is no trajectory"):
        run_node(RetraceLatentBlend, sampler=ddim(), kept_from="trajectory", mask=mask)
    with pytest.raises(ValueError, match=r"Latent Blend: the run has no noise \(DisableNoise\)"):
        run(model, cond, latent, blended, levels(model), torch.zeros_like(latent["samples"]))


def test_a_trajectory_that_does_not_fit_is_refused(models, latent, mask):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent)
    with pytest.raises(ValueError, match="Latent Blend Sample: the trajectory's prediction is 'epsilon'"):
        other, other_cond = models("sd2_v")
        paint(other, other_cond, latent, mask, trajectory, kept_from="trajectory")
    small = {"samples": latent["samples"][..., :8]}
    with pytest.raises(
        ValueError, match="Latent Blend Sample: the latent has the shape .* give the latent that was inv"
    ):
        paint(model, cond, small, mask, trajectory, kept_from="trajectory")
    sampler = run_node(
        RetraceLatentBlend, sampler=euler(), kept_from="trajectory", mask=mask, trajectory=trajectory
    ).result[0]
    with pytest.raises(ValueError, match="Latent Blend: the sigmas begin at .*, above the trajectory's highest level"):
        run(model, cond, latent, sampler, torch.tensor([14.6, 1.0, 0.0]))


def test_other_flows_are_refused_by_name(models, latent, mask):
    import comfy.model_sampling as sampling

    model, cond = models("sd15")
    flow = model.clone()
    kind = type("Sampling", (sampling.ModelSamplingCosmosRFlow, sampling.COSMOS_RFLOW), {})
    flow.add_object_patch("model_sampling", kind(model.model.model_config))
    blended = run_node(RetraceLatentBlend, sampler=euler(), mask=mask).result[0]
    with pytest.raises(ValueError, match=r"Latent Blend: the model \(BaseModel\) is a flow whose states are not"):
        run(flow, cond, latent, blended, torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(
        ValueError, match=r"Latent Blend Sample: the model \(BaseModel\) is a flow whose states are not"
    ):
        paint(flow, cond, latent, mask)
