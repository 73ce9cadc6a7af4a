"""host/ddim and the nodes on it: our loops through ComfyUI's CFGGuider, on miniature layouts with random weights."""

import logging

import pytest
import torch
from node_call import run_node
from retrace_pack.host import ddim
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.schedules import RetraceDDIMScheduler, RetraceSchedulePlot
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent
from retrace_pack.samplers.noise import noise_source
from sd_levels import sd_sigmas

LAYOUTS = ["sd15", "sd2_v", "sd2_v_zero_snr", "sdxl"]
STEPS = 8


def invert(
    model, positive, latent, negative=None, steps=STEPS, cfg=1.0, iterations=0, spacing="leading", terminal="clean"
):
    return run_node(
        RetraceDDIMInvert,
        model=model,
        positive=positive,
        negative=negative or positive,
        latent=latent,
        steps=steps,
        cfg=cfg,
        fixed_point_iterations=iterations,
        spacing=spacing,
        terminal=terminal,
    )


def sample(model, positive, latent, negative=None, **changes):
    inputs = {
        "seed": 0,
        "steps": STEPS,
        "cfg": 1.0,
        "start_step": 0,
        "end_step": 1000,
        "add_noise": False,
        "eta": 0.0,
        "spacing": "leading",
        "terminal": "clean",
        "same_noise": False,
        "row_seeds": "",
    }
    return run_node(
        RetraceDDIMSample,
        model=model,
        positive=positive,
        negative=negative or positive,
        latent=latent,
        **{**inputs, **changes},
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_round_trip_improves_with_iterations_on_every_layout(models, latent, layout):
    """A random network is a worst case for inversion; the steps are many enough for the fixed point to contract."""
    model, cond = models(layout)
    small = {"samples": latent["samples"][:1, :, :8, :8]}
    errors = []
    for iterations in (0, 5):
        trajectory, noise, _ = invert(model, cond, small, steps=60, iterations=iterations).result
        back = sample(model, cond, noise, steps=60).result[0]["samples"]
        errors.append(float((back - small["samples"]).square().mean()))
    assert errors[1] < 0.3 * errors[0]
    assert torch.equal(trajectory.latents[0], small["samples"])
    assert trajectory.latents.shape == (61, 1, 4, 8, 8)


@pytest.mark.parametrize(("layout", "prediction", "latent_format"), [
    ("sd15", "epsilon", "SD15"), ("sd2_v", "v_prediction", "SD15"), ("sdxl", "epsilon", "SDXL"),
])  # fmt: skip
def test_the_trajectory_knows_its_model(models, latent, layout, prediction, latent_format):
    model, cond = models(layout)
    facts = invert(model, cond, latent).result[0].model
    assert (facts.prediction, facts.latent_format) == (prediction, latent_format)
    assert torch.equal(facts.sigma_table, model.get_model_object("model_sampling").sigmas.cpu())


@pytest.mark.parametrize(("cfg", "iterations", "each"), [(1.0, 0, 1), (1.0, 3, 4), (2.0, 0, 2)])
def test_evaluations_are_counted_for_one_image(models, latent, cfg, iterations, each):
    model, cond = models("sd15")
    output = invert(model, cond, latent, models("sd15")[1], cfg=cfg, iterations=iterations)
    assert output.result[0].inversion.unet_evaluations == STEPS * each
    assert output.ui["text"][0].startswith(f"{STEPS * each} model evaluations")


def test_guidance_uses_the_negative_prompt(models, latent):
    from random_models import random_conditioning

    model, cond = models("sd15")
    others = [random_conditioning(model, seed) for seed in (5, 6)]
    plain, first, second = (
        invert(model, cond, latent, negative, cfg=cfg).result[0].latents[-1]
        for negative, cfg in ((others[0], 1.0), (others[0], 3.0), (others[1], 3.0))
    )
    assert not torch.allclose(plain, first) and not torch.allclose(first, second)
    again = invert(model, cond, latent, others[1], cfg=1.0).result[0].latents[-1]
    assert torch.equal(plain, again)


@pytest.mark.parametrize("layout", ["sd15", "sd2_v", "sdxl"])
@pytest.mark.parametrize("start_step", [0, 3])
def test_a_stock_sampler_continues_a_trajectory_as_ours_does(models, latent, relative, layout, start_step):
    import comfy.sample
    import comfy.samplers

    model, cond = models(layout)
    trajectory = invert(model, cond, latent).result[0]
    state, sigmas = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=start_step).result
    ours = sample(model, cond, state, start_step=start_step).result[0]["samples"]
    stock = comfy.sample.sample_custom(
        model,
        torch.zeros_like(state["samples"]),
        1.0,
        comfy.samplers.sampler_object("euler"),
        sigmas,
        cond,
        cond,
        state["samples"],
        disable_pbar=True,
    )
    assert relative(ours, stock) < 1e-4


def test_the_sampler_node_equals_the_sample_node(models, latent):
    import comfy.sample

    model, cond = models("sd15")
    sampler = run_node(RetraceSamplerDDIM, limit={"limit": "none"}).result[0]
    sigmas = run_node(RetraceDDIMScheduler, model=model, steps=STEPS, start_step=2).result[0]
    ours = sample(model, cond, latent, start_step=2).result[0]["samples"]
    zero = torch.zeros_like(latent["samples"])
    stock = comfy.sample.sample_custom(
        model, zero, 1.0, sampler, sigmas, cond, cond, latent["samples"], disable_pbar=True
    )
    torch.testing.assert_close(ours, stock)


def test_the_sampler_node_limits_the_prediction(models, latent):
    import comfy.sample

    model, cond = models("sd15")
    sigmas = run_node(RetraceDDIMScheduler, model=model, steps=STEPS).result[0]
    largest = []
    for limit in (
        {"limit": "none"},
        {"limit": "clip", "range": 0.1},
        {"limit": "dynamic threshold", "ratio": 0.9, "maximum": 1.0},
    ):
        sampler = run_node(RetraceSamplerDDIM, limit=limit).result[0]
        zero = torch.zeros_like(latent["samples"])
        result = comfy.sample.sample_custom(
            model, zero, 1.0, sampler, sigmas, cond, cond, latent["samples"], disable_pbar=True
        )
        # In the UNet's scale, where the limit applies.
        largest.append(float(model.model.process_latent_in(result).abs().max()))
    assert (
        largest[0] > 1.5 and largest[1] == pytest.approx(0.1, rel=1e-3) and largest[2] == pytest.approx(1.0, rel=1e-3)
    )


def test_eta_depends_on_the_seed_and_rows_on_their_own_seeds(models, latent):
    model, cond = models("sd15")
    twins = {"samples": latent["samples"][:1].repeat(2, 1, 1, 1)}

    def rows(**changes):
        return sample(model, cond, twins, eta=1.0, **changes).result[0]["samples"]

    first = rows(seed=1)
    assert torch.equal(first, rows(seed=1)) and not torch.equal(first, rows(seed=2))
    assert not torch.allclose(first[0], first[1])
    same = rows(seed=1, same_noise=True)
    torch.testing.assert_close(same[0], same[1])
    listed = rows(row_seeds="4, 9")
    torch.testing.assert_close(listed[1], rows(row_seeds="9, 9")[0], rtol=1e-4, atol=1e-4)


def test_the_noise_of_the_steps_is_not_the_initial_noise_again(models, latent, monkeypatch):
    model, cond = models("sd15")
    drawn = []

    def recording(shape, seeds):
        draw = noise_source(shape, seeds)
        return lambda: drawn.append(draw()) or drawn[-1]

    monkeypatch.setattr(ddim, "noise_source", recording)
    sample(model, cond, latent, seed=5, add_noise=True, eta=1.0)
    initial = noise_source(latent["samples"].shape, (5,))()
    assert len(drawn) == STEPS and not any(torch.equal(noise[0], initial[0]) for noise in drawn)


def test_the_first_state_is_the_given_latent_to_the_last_bit(models, latent):
    model, cond = models("sd15")
    scaled = model.model.process_latent_out(model.model.process_latent_in(latent["samples"]))
    assert not torch.equal(scaled, latent["samples"])
    assert torch.equal(invert(model, cond, latent).result[0].latents[0], latent["samples"])


def test_add_noise_is_img2img_and_keeps_what_the_mask_keeps(models, latent):
    model, cond = models("sd15")
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8:] = 1
    masked = {**latent, "noise_mask": mask}
    result = sample(model, cond, masked, add_noise=True, start_step=4).result[0]
    assert torch.allclose(result["samples"][..., :8], latent["samples"][..., :8], atol=1e-5)
    assert not torch.allclose(result["samples"][..., 8:], latent["samples"][..., 8:], atol=1e-2)


@pytest.mark.parametrize("changes", [{}, {"add_noise": True, "end_step": 5}])
def test_a_latent_with_noise_in_it_carries_no_mask(models, latent, changes, caplog):
    model, cond = models("sd15")
    masked = {**latent, "noise_mask": torch.ones(1, 1, 16, 16)}
    with caplog.at_level(logging.WARNING):
        assert "noise_mask" not in sample(model, cond, masked, **changes).result[0]
    assert "DDIM Sample: the latent's noise_mask is dropped" in caplog.text


@pytest.mark.parametrize("start_step", [0, 4])
def test_img2img_equals_ksampler_advanced(models, latent, relative, start_step):
    """The same seed, noise and levels: ours with add_noise against core's."""
    import nodes

    model, cond = models("sd15")
    ours = sample(model, cond, latent, steps=20, start_step=start_step, add_noise=True, seed=3).result[0]["samples"]
    core = nodes.KSamplerAdvanced().sample(
        model, "enable", 3, 20, 1.0, "euler", "ddim_uniform", cond, cond, latent, start_step, 10000, "disable"
    )[0]["samples"]
    assert relative(ours, core) < 1e-4


def test_a_row_taken_out_of_a_batch_gets_its_own_noise(models, latent):
    """By the batch_index that Latent From Batch sets, as in core; rows with seeds of their own do not hang on their place."""
    import nodes

    model, cond = models("sd15")
    batch = {"samples": latent["samples"].repeat(2, 1, 1, 1)}
    (alone,) = nodes.LatentFromBatch().frombatch(batch, 2, 1)

    def rows(given, **changes):
        return sample(model, cond, given, start_step=4, add_noise=True, **changes).result[0]["samples"]

    for changes in ({}, {"same_noise": True}):
        torch.testing.assert_close(rows(alone, **changes)[0], rows(batch, **changes)[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows(alone, row_seeds="9")[0], rows(batch, row_seeds="1,2,9,4")[2], rtol=1e-4, atol=1e-4)


def test_the_sampler_node_refuses_other_flows(models, latent):
    import comfy.model_sampling as sampling
    import comfy.sample

    model, cond = models("sd15")
    flow = model.clone()
    kind = type("Sampling", (sampling.ModelSamplingCosmosRFlow, sampling.COSMOS_RFLOW), {})
    flow.add_object_patch("model_sampling", kind(model.model.model_config))
    sampler = run_node(RetraceSamplerDDIM, limit={"limit": "none"}).result[0]
    sigmas, zero = torch.tensor([1.0, 0.5, 0.0]), torch.zeros_like(latent["samples"])
    with pytest.raises(ValueError, match=r"Sampler DDIM: the model \(BaseModel\) is a flow whose states are not"):
        comfy.sample.sample_custom(flow, zero, 1.0, sampler, sigmas, cond, cond, latent["samples"], disable_pbar=True)


def test_an_inverted_latent_drops_its_mask_and_says_so(models, latent, caplog):
    model, cond = models("sd15")
    masked = {**latent, "noise_mask": torch.zeros(1, 1, 16, 16), "batch_index": [4, 5]}
    with caplog.at_level(logging.WARNING):
        trajectory, noise, _ = invert(model, cond, masked).result
        carried = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=2, latent=masked).result[0]
    assert "noise_mask" not in noise and "noise_mask" not in carried
    assert noise["batch_index"] == carried["batch_index"] == [4, 5]
    assert "DDIM Invert: the latent's noise_mask is dropped" in caplog.text
    assert "Trajectory Latent: the latent's noise_mask is dropped" in caplog.text
    assert "noise_mask" in masked


def test_sampling_in_two_windows_equals_one(models, latent):
    model, cond = models("sd2_v")
    whole = sample(model, cond, latent).result[0]["samples"]
    half = sample(model, cond, latent, end_step=5).result[0]
    rest = sample(model, cond, half, start_step=5).result[0]["samples"]
    torch.testing.assert_close(rest, whole, rtol=1e-4, atol=1e-4)


def test_previews_get_the_predicted_image_and_every_step(models, latent, monkeypatch):
    import latent_preview

    model, cond = models("sd15")
    seen = []

    def prepare(patcher, steps, *args):
        return lambda step, x0, x, total: seen.append((step, total, x0, x))

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    trajectory = invert(model, cond, latent).result[0]
    assert [(step, total) for step, total, _, _ in seen] == [(step, STEPS) for step in range(STEPS)]
    process_in = model.model.process_latent_in
    for _, _, x0, x in seen:
        assert not torch.allclose(x0, x, atol=0.1)
    torch.testing.assert_close(seen[-1][3], process_in(trajectory.latents[-1]))
    # The clean image on the straight line from the first state through the second is what the first step saw.
    first_state, second_state = process_in(trajectory.latents[0]), process_in(trajectory.latents[1])
    sigma = trajectory.sigmas[1]
    asked = first_state * (1 + sigma**2).sqrt()
    torch.testing.assert_close(seen[0][2], asked - (second_state - first_state), rtol=1e-3, atol=1e-3)


def test_an_interrupt_passes_through_and_leaves_the_model_usable(models, latent):
    import comfy.model_management as management

    model, cond = models("sd15")
    before = invert(model, cond, latent).result[0].latents
    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        invert(model, cond, latent)
    assert torch.equal(invert(model, cond, latent).result[0].latents, before)


def test_a_lora_added_later_only_warns_another_kind_is_refused(models, latent, caplog):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent).result[0]
    patched = model.clone()
    key = "diffusion_model.middle_block.1.proj_in.weight"
    patched.add_patches({key: (torch.zeros_like(model.model_state_dict()[key]),)})
    with caplog.at_level(logging.WARNING):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, model=model)
        assert not caplog.records
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, model=patched)
    assert "made with other weights" in caplog.text
    with pytest.raises(ValueError, match="Trajectory Latent: the trajectory's prediction is 'epsilon'"):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, model=models("sd2_v")[0])
    with pytest.raises(ValueError, match="Trajectory Latent: the trajectory's latent_format is 'SD15'"):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, model=models("sdxl")[0])
    with pytest.raises(ValueError, match="made with another noise schedule"):
        run_node(
            RetraceTrajectoryLatent,
            trajectory=invert(models("sd2_v")[0], cond, latent).result[0],
            model=models("sd2_v_zero_snr")[0],
        )


def test_other_flows_and_models_without_levels_are_refused_by_name(models, latent):
    import comfy.model_sampling as sampling
    from comfy_extras.nodes_model_advanced import LCM, ModelSamplingDiscreteDistilled

    model, cond = models("sd15")
    config = model.model.model_config
    for bases, message in (
        (
            (sampling.ModelSamplingCosmosRFlow, sampling.COSMOS_RFLOW),
            r"\(BaseModel\) is a flow whose states are not .* as those of Cosmos 1",
        ),
        ((sampling.ModelSamplingContinuousEDM, sampling.EDM), r"\(BaseModel\) has no table of discrete noise levels"),
        (
            (ModelSamplingDiscreteDistilled, LCM),
            "keeps 50 of its 1000 noise levels, as ModelSamplingDiscrete's lcm does",
        ),
    ):
        other = model.clone()
        other.add_object_patch("model_sampling", type("Sampling", bases, {})(config))
        for node, run in (
            ("DDIM Invert", lambda other=other: invert(other, cond, latent)),
            ("DDIM Sample", lambda other=other: sample(other, cond, latent)),
            ("DDIM Scheduler", lambda other=other: run_node(RetraceDDIMScheduler, model=other, steps=5, end_step=9)),
            ("Schedule Plot", lambda other=other: run_node(RetraceSchedulePlot, model=other, steps=5)),
        ):
            with pytest.raises(ValueError, match=f"{node}: the model {message}"):
                run()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (torch.zeros(1, 4, 3, 16, 16) + 1, r"has 5 dimensions \(1, 4, 3, 16, 16\), as video latents have"),
        (
            torch.ones(1, 16, 16, 16),
            "has 16 channels, the model works with 4; encode the image with this model's own VAE",
        ),
    ],
)
def test_latents_that_do_not_fit_are_refused(models, samples, message):
    model, cond = models("sd15")
    for node, run in (("DDIM Invert", invert), ("DDIM Sample", sample)):
        with pytest.raises(ValueError, match=f"{node}: the latent {message}"):
            run(model, cond, {"samples": samples})


def test_a_nested_latent_is_refused(models):
    from comfy.nested_tensor import NestedTensor

    model, cond = models("sd15")
    nested = NestedTensor([torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 16, 16)])
    with pytest.raises(ValueError, match="DDIM Invert: the latent is nested"):
        invert(model, cond, {"samples": nested})


def test_steps_beyond_the_schedule_are_refused(models, latent):
    model, cond = models("sd15")
    with pytest.raises(ValueError, match="start_step 8 and end_step 8 do not lie in the 8 steps"):
        sample(model, cond, latent, start_step=8)
    with pytest.raises(ValueError, match="begin at timestep 1000, beyond the model's last"):
        invert(model, cond, latent, steps=1000)
    trajectory = invert(model, cond, latent).result[0]
    with pytest.raises(ValueError, match="start_step 8 is beyond the trajectory's 8 steps"):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=8)


def test_another_latent_than_the_inverted_one_is_refused(models, latent):
    model, cond = models("sd15")
    trajectory = invert(model, cond, latent).result[0]
    with pytest.raises(ValueError, match="the latent has the shape"):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, latent={"samples": torch.zeros(1, 4, 8, 8)})


def test_the_sd_table_is_ours(models):
    """ComfyUI's table, which every node takes its levels from, against the pure form and diffusers' convention."""
    for layout, expected in (("sd15", sd_sigmas()), ("sd2_v_zero_snr", sd_sigmas(zero_terminal_snr=True))):
        table = models(layout)[0].get_model_object("model_sampling").sigmas
        torch.testing.assert_close(table, expected.float(), rtol=2e-4, atol=0)
