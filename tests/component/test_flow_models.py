"""Rectified flows of every layout: inversion, the way back, and the hand-over to stock samplers."""

import itertools
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from node_call import run_node
from random_flows import CONFIGS, random_flow, random_image, random_prompt
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.schedules import RetraceDDIMScheduler, RetraceSchedulePlot
from retrace_pack.nodes.trajectory import (
    RetraceLoadTrajectory,
    RetraceSaveTrajectory,
    RetraceTrajectoryLatent,
    RetraceTrajectoryPreview,
)
from retrace_pack.nodes.trajectory_noise import RetraceTrajectoryNoise

import nodes

STEPS = 8


@pytest.fixture(scope="module")
def flows():
    """Family -> its random MODEL, made once."""
    made = {}
    return lambda family: made.setdefault(family, random_flow(family) if family not in made else None) or made[family]


@pytest.fixture(params=CONFIGS, ids=str)
def family(request):
    return request.param


def inverted(model, family, node=RetraceDDIMInvert, images=1, **changes):
    given = {
        "positive": random_prompt(family, 1),
        "negative": random_prompt(family, 2),
        "latent": {"samples": random_image(family, images)},
        "steps": STEPS,
    }
    return run_node(node, model=model, **{**given, **changes}).result


def edited(model, family, trajectory, cfg=1.0, **changes):
    """Edit Sample, not aligned, so that it is the sampler that it matches."""
    prompts = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2), "align": "off"}
    result = run_node(RetraceEditSample, model=model, trajectory=trajectory, cfg=cfg, **{**prompts, **changes}).result
    return result[0]["samples"]


def stock(model, family, noise, latent, sigmas, sampler="euler", cfg=1.0):
    """SamplerCustomAdvanced."""
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(random_prompt(family, 1), random_prompt(family, 2))
    guider.set_cfg(cfg)
    return SamplerCustomAdvanced.execute(noise, guider, comfy.samplers.sampler_object(sampler), sigmas, latent).result[
        0
    ]["samples"]


def test_the_levels_are_those_of_the_scheduler_simple(flows, family):
    """For Flux they are the official ones, which the text-to-image workflows use."""
    model = flows(family)
    simple = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    (sigmas,) = run_node(RetraceDDIMScheduler, model=model, steps=STEPS).result
    torch.testing.assert_close(sigmas, simple, rtol=0, atol=1e-7)
    assert sigmas[0] == 1


@pytest.mark.parametrize("start_step", [0, 3])
def test_f1_the_way_up_and_down_equals_stock_euler(flows, family, start_step):
    """Through a NOISE and the clean latent, at sigma 1 and below it."""
    model = flows(family)
    trajectory = inverted(model, family)[0]
    noise, latent, sigmas = run_node(
        RetraceTrajectoryNoise, model=model, trajectory=trajectory, start_step=start_step
    ).result
    ours = edited(model, family, trajectory, start_step=start_step)
    assert float((stock(model, family, noise, latent, sigmas) - ours).abs().max()) <= 1e-5


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_the_noise_of_a_state_works_on_sd_as_well(trained, cfg):
    """Also at the model's highest level, where ComfyUI weighs noise differently (trailing begins there)."""
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    task = trained()
    trajectory = run_node(
        RetraceDDIMInvert, model=task.model, positive=task.source, negative=task.negative,
        latent={"samples": task.samples}, steps=5, spacing="trailing",
    ).result[0]  # fmt: skip
    guider = comfy.samplers.CFGGuider(task.model)
    guider.set_conds(task.source, task.negative)
    guider.set_cfg(cfg)
    for start_step in (0, 2):
        noise, latent, sigmas = run_node(RetraceTrajectoryNoise, trajectory=trajectory, start_step=start_step).result
        euler = comfy.samplers.sampler_object("euler")
        ours = replace(task, cfg=cfg).edit(trajectory, cfg=cfg, start_step=start_step)[0]
        stocks = SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]["samples"]
        torch.testing.assert_close(stocks, ours, rtol=0, atol=2e-4)


def test_a_noise_refuses_another_image(flows):
    model = flows("flux")
    noise, latent, sigmas = run_node(RetraceTrajectoryNoise, trajectory=inverted(model, "flux")[0], start_step=3).result
    other = {"samples": random_image("flux", seed=9)}
    with pytest.raises(ValueError, match="^Trajectory Noise: the latent_image is not the image that was inverted"):
        stock(model, "flux", noise, other, sigmas)
    with pytest.raises(ValueError, match="^Trajectory Noise: the latent has the shape"):
        stock(model, "flux", noise, {"samples": latent["samples"][..., :6]}, sigmas)


def test_f2_a_latent_continues_in_ksampler_advanced_between_the_ends(flows, family):
    model = flows(family)
    trajectory = inverted(model, family)[0]
    latent, _ = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=3, model=model).result
    stocks = nodes.KSamplerAdvanced().sample(
        model, "disable", 0, STEPS, 1.0, "euler", "simple", random_prompt(family, 1), random_prompt(family, 2), latent, 3,
        10000, "disable",
    )[0]["samples"]  # fmt: skip
    ours = edited(model, family, trajectory, start_step=3)
    assert float((stocks - ours).abs().max()) <= 1e-4
    prompts = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2)}
    (sampled,) = run_node(
        RetraceDDIMSample, model=model, latent=latent, steps=STEPS, cfg=1.0, start_step=3, **prompts
    ).result
    assert float((sampled["samples"] - ours).abs().max()) <= 1e-4


def test_f2_at_sigma_1_there_is_no_latent(flows):
    model = flows("flux")
    trajectory, latent, sigmas = inverted(model, "flux")
    assert isinstance(latent, ExecutionBlocker) and "Trajectory Noise" in latent.message and sigmas[0] == 1
    with pytest.raises(
        ValueError, match=r"^Trajectory Latent: the state at sigma 1 is noise alone, .* Trajectory Noise"
    ):
        run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=0)


@pytest.mark.parametrize(
    ("family", "method", "cfg"),
    [
        *((family, "o-belm", 1.0) for family in CONFIGS),
        *itertools.product(("schnell", "qwen"), ("o-belm", "bdia", "edict"), (1.0, 7.5)),
    ],
)
def test_f7_exact_methods_come_back_at_the_cfg_of_the_inversion(flows, family, method, cfg):
    model = flows(family)
    (trajectory,) = inverted(model, family, RetraceExactInvert, method=method, cfg=cfg)
    assert bool(torch.isfinite(trajectory.pairs).all())
    missed = edited(model, family, trajectory, cfg) - random_image(family)
    assert float(missed.abs().max()) < (1e-3 if method == "edict" else 1e-4)


@pytest.mark.parametrize("cfg", [1.0, 7.5])
def test_f7_noise_maps_come_back_at_any_cfg(flows, family, cfg):
    model = flows(family)
    for solver, eta in (("ddpm", 1.0), ("ddpm", 0.5), ("dpm++ 2m", 1.0)):
        (trajectory,) = inverted(model, family, RetraceEditFriendlyInvert, cfg=cfg, solver=solver, eta=eta)
        assert trajectory.sigmas[-1] == 1
        for start_step in (0, 3):
            missed = edited(model, family, trajectory, cfg, start_step=start_step) - random_image(family)
            assert float(missed.abs().max()) < 1e-5
        # At cfg 1 a random network hardly sees its prompt.
        another = edited(model, family, trajectory, cfg, positive=random_prompt(family, 5)) - random_image(family)
        assert cfg == 1 or float(another.abs().max()) > 1e-2


@pytest.mark.parametrize("family", ["flux", "qwen"])
def test_f8_the_residual_falls_at_every_iteration_and_the_image_comes_nearer(flows, family):
    model, residuals, missed = flows(family), [], []
    for iterations in range(5):
        trajectory = inverted(model, family, fixed_point_iterations=iterations)[0]
        residuals.append(float(trajectory.residuals.max()))
        missed.append(float((edited(model, family, trajectory) - random_image(family)).abs().max()))
    assert residuals == sorted(residuals, reverse=True) and residuals[4] < 0.1 * residuals[0]
    assert missed == sorted(missed, reverse=True) and missed[4] < 0.1 * missed[0]


@pytest.mark.parametrize("method", ["dpm++ 2m", "res 2m"])
def test_second_order_methods_equal_their_stock_samplers_and_come_nearer(flows, method):
    model, sampler = flows("schnell"), {"dpm++ 2m": "dpmpp_2m", "res 2m": "res_multistep"}[method]
    plain, second = (inverted(model, "schnell", method=name)[0] for name in ("ddim", method))
    noise, latent, sigmas = run_node(RetraceTrajectoryNoise, trajectory=second, start_step=0).result
    ours = edited(model, "schnell", second)
    torch.testing.assert_close(stock(model, "schnell", noise, latent, sigmas, sampler), ours, rtol=0, atol=1e-4)
    image = random_image("schnell")
    assert (ours - image).std() < 0.5 * (edited(model, "schnell", plain) - image).std()


def test_a_batch_equals_its_rows(flows, family):
    model = flows(family)
    both = inverted(model, family, images=2)[0]
    torch.testing.assert_close(both.latents[:, :1], inverted(model, family, latent={"samples": random_image(family, 2)[:1]})[
        0
    ].latents, rtol=0, atol=1e-4)  # fmt: skip


def test_saved_and_loaded_it_continues_the_same(flows, family, folders):
    model = flows(family)
    trajectory = inverted(model, family)[0]
    run_node(RetraceSaveTrajectory, trajectory=trajectory)
    (name,) = RetraceLoadTrajectory.define_schema().inputs[0].options
    (loaded,) = RetraceLoadTrajectory.execute(name).result
    assert torch.equal(edited(model, family, loaded), edited(model, family, trajectory))
    assert loaded.model.prediction == "flow" and loaded.model.path == trajectory.model.path


def test_a_shift_between_inversion_and_edit_changes_nothing(flows):
    """The levels are the trajectory's own, and the network knows no other shift."""
    from comfy_extras.nodes_model_advanced import ModelSamplingFlux

    model = flows("flux")
    trajectory = inverted(model, "flux")[0]
    (shifted,) = ModelSamplingFlux().patch(model, 0.6, 0.5, 1024, 1024)
    assert torch.equal(edited(shifted, "flux", trajectory), edited(model, "flux", trajectory))
    other = inverted(shifted, "flux")[0]
    assert not torch.allclose(other.sigmas, trajectory.sigmas, atol=1e-2)


def test_a_trajectory_of_another_family_is_refused(flows, trained):
    task, model = trained(), flows("flux")
    with pytest.raises(
        ValueError, match="^Edit Sample: the trajectory's prediction is 'epsilon', but the model's is 'flow'"
    ):
        edited(model, "flux", task.invert())
    with pytest.raises(
        ValueError, match="^Edit Sample: the trajectory's prediction is 'flow', but the model's is 'eps"
    ):
        edited(task.model, "flux", inverted(model, "flux")[0])
    with pytest.raises(
        ValueError, match="^Edit Sample: the trajectory's latent_format is 'Flux', but the model's is 'SD3'"
    ):
        edited(flows("sd3"), "sd3", inverted(model, "flux")[0])


@pytest.mark.parametrize("changes", [{"spacing": "trailing"}, {"terminal": "first"}])
def test_stable_diffusions_grids_are_refused(flows, changes):
    model = flows("flux")
    message = ": spacing '.*' with terminal '.*' are Stable Diffusion's, but the model is a flow"
    for node in (RetraceDDIMInvert, RetraceExactInvert, RetraceEditFriendlyInvert):
        with pytest.raises(ValueError, match=f"Invert{message}"):
            inverted(model, "flux", node, **changes)
    with pytest.raises(ValueError, match=f"DDIM Scheduler{message}"):
        run_node(RetraceDDIMScheduler, model=model, **changes)


def test_videos_are_refused(flows):
    frames = {"samples": random_image("qwen").expand(1, 16, 5, 8, 8)}
    with pytest.raises(ValueError, match="^DDIM Invert: the latent is a video of 5 latent frames"):
        inverted(flows("qwen"), "qwen", latent=frames)
    with pytest.raises(ValueError, match="^DDIM Invert: the latent has 5 dimensions"):
        inverted(flows("flux"), "flux", latent=frames)


def test_a_picture_without_frames_is_one_frame(flows):
    """A stock LATENT of Qwen-Image may lack the frame's dimension; ComfyUI adds it."""
    model, image = flows("qwen"), random_image("qwen")
    flat = inverted(model, "qwen", latent={"samples": image[:, :, 0]})[0]
    assert torch.equal(flat.latents, inverted(model, "qwen")[0].latents)


def test_pixel_models_and_other_flows_are_refused_by_name(flows):
    import comfy.latent_formats
    import comfy.model_sampling as sampling

    model = flows("chroma")
    pixels = model.clone()
    pixels.add_object_patch("latent_format", comfy.latent_formats.ChromaRadiance())
    with pytest.raises(ValueError, match=r"^DDIM Invert: the model \(Chroma\) works on pixels, not on latents"):
        inverted(pixels, "chroma")
    for kind, base in (
        (sampling.COSMOS_RFLOW, sampling.ModelSamplingCosmosRFlow),
        (sampling.IMG_TO_IMG_FLOW, sampling.ModelSamplingDiscreteFlow),
    ):
        other = model.clone()
        other.add_object_patch("model_sampling", type("Sampling", (base, kind), {})(model.model.model_config))
        with pytest.raises(ValueError, match=r"^DDIM Invert: the model \(Chroma\) is a flow whose states are not"):
            inverted(other, "chroma")


@pytest.mark.parametrize("family", ["flux", "qwen"])
def test_a_preview_shows_what_each_step_predicted(flows, family, folders):
    """With a VAE that gives the latent's first channels as colors, with a dimension of frames where the latent has one."""
    trajectory = inverted(flows(family), family)[0]

    class Vae:
        def decode(self, samples):
            return samples[:, :3].movedim(1, -1)

    (grid,) = run_node(RetraceTrajectoryPreview, trajectory=trajectory, vae=Vae(), pictures=4, columns=2).result
    first = trajectory.predicted_clean()[0]
    assert grid.ndim == 4
    torch.testing.assert_close(grid[:, :8, :8], first[:, :3].movedim(1, -1).reshape(1, 8, 8, 3))


def test_the_plot_shows_a_flow(flows, folders):
    (image,) = run_node(RetraceSchedulePlot, model=flows("flux"), steps=STEPS).result
    assert image.shape[0] == 1 and image.std() > 0.01


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ddim_sample_starts_from_noise_as_stock_euler_and_takes_eta(flows, family, eta):
    model = flows(family)
    latent = {"samples": torch.zeros_like(random_image(family))}
    prompts = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2)}

    def sampled(seed, eta):
        return run_node(
            RetraceDDIMSample, model=model, latent=latent, steps=STEPS, cfg=1.0, add_noise=True, eta=eta, seed=seed, **prompts
        ).result[0]["samples"]  # fmt: skip

    (stocks,) = nodes.KSampler().sample(model, 3, STEPS, 1.0, "euler", "simple", *prompts.values(), latent, 1.0)
    difference = float((sampled(3, eta) - stocks["samples"]).abs().max())
    assert difference <= 1e-5 if eta == 0 else 1e-2 < difference < 100
