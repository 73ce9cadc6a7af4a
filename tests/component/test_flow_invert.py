"""Flow Invert: solvers, levels, guidance, and what it hands on."""

import comfy.samplers
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from node_call import run_node
from random_flows import random_flow, random_image, random_prompt
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert

STEPS = 8


@pytest.fixture(scope="module")
def flux():
    return random_flow("flux")


@pytest.fixture(scope="module")
def schnell():
    return random_flow("schnell")


def invert(model, family="schnell", node=RetraceFlowInvert, **changes):
    given = {
        "positive": random_prompt(family, 1),
        "negative": random_prompt(family, 2),
        "latent": {"samples": random_image(family)},
        "steps": STEPS,
    }
    return run_node(node, model=model, **{**given, **changes})


def custom(model, noise, latent, sigmas, positive, sampler="euler"):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, positive)
    chosen = comfy.samplers.sampler_object(sampler)
    return SamplerCustomAdvanced.execute(noise, guider, chosen, sigmas, latent).result[0]["samples"]


def test_euler_is_ddim_invert(schnell):
    ours = invert(schnell, fixed_point_iterations=2, acceleration="anderson").result
    ddim = invert(schnell, node=RetraceDDIMInvert, fixed_point_iterations=2, acceleration="anderson").result
    assert torch.equal(ours[0].latents, ddim[0].latents) and torch.equal(ours[3], ddim[2])


@pytest.mark.parametrize(
    ("solver", "calls"),
    [("euler", STEPS), ("uni", STEPS + 1), ("midpoint", 2 * STEPS), ("fireflow", STEPS + 1), ("dna", STEPS)],
)
def test_f6_evaluations(schnell, solver, calls):
    output = invert(schnell, solver=solver)
    assert output.result[0].inversion.unet_evaluations == calls
    assert output.ui["text"][0].startswith(f"{calls} model evaluations, largest offset 0.")


@pytest.mark.parametrize("solver", ["uni", "midpoint", "fireflow"])
def test_f8_a_better_solver_comes_nearer_with_stock_euler(schnell, solver):
    """Not aligned: the plain way back from the noise that it found."""
    image = random_image("schnell")

    def missed(name):
        trajectory = invert(schnell, solver=name, steps=20).result[0]
        given = {"model": schnell, "trajectory": trajectory, "cfg": 1.0, "align": "off"}
        back = run_node(RetraceEditSample, **given, positive=random_prompt("schnell", 1)).result[0]["samples"]
        return float((back - image).square().mean())

    assert missed(solver) < 0.5 * missed("euler")


def test_the_noise_continues_in_a_stock_sampler(schnell):
    trajectory, noise, leftover, sigmas = invert(schnell, solver="uni").result
    assert isinstance(leftover, ExecutionBlocker) and sigmas[0] == 1
    latent = {"samples": random_image("schnell")}
    prompt = random_prompt("schnell", 1)
    given = {"model": schnell, "trajectory": trajectory, "cfg": 1.0, "align": "off", "positive": prompt}
    ours = run_node(RetraceEditSample, **given).result[0]["samples"]
    torch.testing.assert_close(custom(schnell, noise, latent, sigmas, prompt), ours, rtol=0, atol=1e-5)


def test_given_levels_replace_the_steps_and_below_1_there_is_a_latent(schnell):
    levels = torch.tensor([0.8, 0.55, 0.3, 0.1, 0.0])
    trajectory, _, leftover, sigmas = invert(schnell, sigmas=levels).result
    assert torch.equal(sigmas, levels) and trajectory.inversion.spacing == "given"
    prompt = random_prompt("schnell", 1)
    given = {"model": schnell, "trajectory": trajectory, "cfg": 1.0, "positive": prompt}
    ours = run_node(RetraceEditSample, **given, align="off").result[0]["samples"]
    from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise

    result = custom(schnell, Noise_EmptyNoise(), leftover, levels, prompt)
    torch.testing.assert_close(result, ours, rtol=0, atol=1e-4)
    exact = run_node(RetraceEditSample, **given).result[0]["samples"]
    assert float((exact - random_image("schnell")).abs().max()) <= 1e-6


@pytest.mark.parametrize("levels", [[0.0, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0], [1.0, 0.5], [0.0]])
def test_other_levels_are_refused(schnell, levels):
    with pytest.raises(ValueError, match="^Flow Invert: the sigmas .* do not descend strictly to 0"):
        invert(schnell, sigmas=torch.tensor(levels))


def test_embedded_guidance_is_set_and_kept(flux):
    """1 is what the model's own flow is followed with; FluxGuidance in the prompt does not count while inverting."""
    first, again, other = (
        invert(flux, "flux", positive=random_prompt("flux", 1, guidance=prompt), guidance=guidance).result[0]
        for prompt, guidance in ((None, 1.0), (4.0, 1.0), (None, 4.0))
    )
    assert torch.equal(first.latents, again.latents) and not torch.equal(first.latents, other.latents)
    assert (first.inversion.guidance, other.inversion.guidance) == (1.0, 4.0)
    told = invert(flux, "flux", RetraceDDIMInvert, positive=random_prompt("flux", 1, guidance=4.0)).result[0]
    assert torch.equal(told.latents, other.latents) and told.inversion.guidance == 4.0


def test_guidance_that_is_disabled_stays_so_on_the_way_back(flux):
    from comfy_extras.nodes_flux import FluxDisableGuidance

    (prompt,) = FluxDisableGuidance.execute(random_prompt("flux", 1)).result
    trajectory = invert(flux, "flux", RetraceDDIMInvert, positive=prompt).result[0]
    edit = {"positive": random_prompt("flux", 5, guidance=3.5), "source": prompt}
    source = run_node(RetraceEditSample, model=flux, trajectory=trajectory, cfg=1.0, hold_source=False, **edit).result[
        1
    ]
    assert trajectory.inversion.guidance is None
    assert float((source["samples"] - random_image("flux")).abs().max()) <= 1e-6
    given = invert(flux, "flux", RetraceDDIMInvert, positive=random_prompt("flux", 1)).result[0]
    assert not torch.equal(trajectory.latents, given.latents)


def test_guidance_is_refused_where_it_is_not_embedded(schnell):
    with pytest.raises(ValueError, match="^Flow Invert: guidance is 3.5, but the model has no guidance embedded"):
        invert(schnell, guidance=3.5)
    assert invert(schnell).result[0].inversion.guidance is None


def test_what_a_solver_does_not_use_is_refused(schnell):
    with pytest.raises(ValueError, match="^Flow Invert: fixed_point_iterations is 2, but method 'uni' does not use it"):
        invert(schnell, solver="uni", fixed_point_iterations=2)


def test_the_seed_is_that_of_dna(schnell):
    first, again, other = (invert(schnell, solver="dna", seed=seed).result[0].latents for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_other_models_are_sent_to_ddim_invert(trained):
    task = trained()
    given = {"positive": task.source, "negative": task.negative, "latent": {"samples": task.samples}}
    with pytest.raises(ValueError, match="^Flow Invert: the model's prediction is 'epsilon', .* use DDIM Invert"):
        run_node(RetraceFlowInvert, model=task.model, **given)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_few_steps_come_back_aligned_and_say_how_far_the_plain_way_is_off(schnell, steps):
    """As with schnell and Turbo models, whose steps are too long for a plain inversion."""
    from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert

    image, prompt = random_image("schnell"), random_prompt("schnell", 1)
    trajectory = invert(schnell, steps=steps).result[0]
    assert trajectory.largest_offset() > invert(schnell, steps=8 * steps).result[0].largest_offset() > 0

    def missed(trajectory, cfg=1.0, **changes):
        given = {"model": schnell, "trajectory": trajectory, "cfg": cfg, "positive": prompt, **changes}
        return float((run_node(RetraceEditSample, **given).result[0]["samples"] - image).abs().max())

    assert missed(trajectory) <= 1e-6 and missed(trajectory, align="off") > 1e-2
    maps = invert(schnell, node=RetraceEditFriendlyInvert, steps=steps, cfg=3.0).result[0]
    assert missed(maps, cfg=3.0, negative=random_prompt("schnell", 2)) <= 1e-5
