"""A trajectory's state knows its noise level: DDIM Sample refuses to start at another one, which used to give silent garbage."""

import pytest
import torch
from node_call import run_node
from retrace_pack.host.latents import LEVEL, with_samples
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inpainting import RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

STEPS = 10


def sample(model, positive, latent, steps=STEPS, start_step=4, add_noise=False, spacing="leading"):
    return run_node(
        RetraceDDIMSample,
        model=model,
        positive=positive,
        negative=positive,
        latent=latent,
        steps=steps,
        cfg=1.0,
        start_step=start_step,
        end_step=start_step + 1,
        add_noise=add_noise,
        spacing=spacing,
    )


@pytest.fixture
def inverted(models, latent):
    model, cond = models("sd15")
    return (
        model,
        cond,
        run_node(RetraceDDIMInvert, model=model, positive=cond, negative=cond, latent=latent, steps=STEPS).result,
    )


@pytest.mark.parametrize("changes", [{"steps": 20}, {"start_step": 2}, {"spacing": "trailing"}])
def test_another_level_than_the_latents_is_refused(inverted, monkeypatch, changes):
    model, cond, (trajectory, _, _) = inverted
    state, sigmas = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=4).result
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was called"))
    asked = {"steps": STEPS, "start_step": 4, "spacing": "leading", **changes}
    message = (
        f"DDIM Sample: steps {asked['steps']}, start_step {asked['start_step']} and spacing '{asked['spacing']}' begin at "
        rf"sigma \d+\.\d+, but the latent is the trajectory's state at sigma {float(sigmas[0]):.4f}; "
        "give steps 10, start_step 4 and spacing 'leading'"
    )
    with pytest.raises(ValueError, match=message):
        sample(model, cond, state, **changes)


def test_the_noise_of_the_inversion_has_its_level_too(inverted):
    model, cond, (_, noise, _) = inverted
    sample(model, cond, noise, start_step=0)
    with pytest.raises(ValueError, match="give steps 10, start_step 0 and spacing 'leading'"):
        sample(model, cond, noise, start_step=4)


def test_what_stock_nodes_made_of_the_state_is_not_judged(inverted):
    """They copy the LATENT with all its keys and put other samples in: nobody knows their level."""
    import nodes

    model, cond, (trajectory, _, _) = inverted
    state = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=4).result[0]
    changed = [
        nodes.LatentFromBatch().frombatch(state, 0, 1)[0],
        nodes.RepeatLatentBatch().repeat(state, 2)[0],
        nodes.LatentFlip().flip(state, "x-axis: vertically")[0],
    ]
    for each in changed:
        sample(model, cond, each, start_step=2)
    masked = nodes.SetLatentNoiseMask().set_mask(state, torch.ones(1, 16, 16))[0]
    with pytest.raises(ValueError, match="give steps 10, start_step 4"):
        sample(model, cond, masked, start_step=2)


@pytest.mark.parametrize(
    "node", [RetraceDDIMInvert, RetraceExactInvert, RetraceEditFriendlyInvert, RetraceLatentBlendSample]
)
def test_a_state_is_refused_where_the_image_is_needed(inverted, monkeypatch, node):
    """It would be inverted, or kept outside a mask, with its noise."""
    model, cond, (trajectory, noise, _) = inverted
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was called"))
    state = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=4).result[0]
    for latent in (noise, state):
        with pytest.raises(
            ValueError, match=r"the latent is a trajectory's state at sigma \d+\.\d+, with its noise; give the image"
        ):
            run_node(node, model=model, positive=cond, negative=cond, latent=latent, steps=STEPS)


def test_a_state_that_gets_noise_of_its_own_and_the_right_level_run(inverted):
    model, cond, (trajectory, _, _) = inverted
    state = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=4).result[0]
    sample(model, cond, state, add_noise=True, start_step=2)
    result = sample(model, cond, state).result[0]
    assert LEVEL in state and LEVEL not in result and LEVEL not in with_samples(state, state["samples"])


def test_stock_nodes_save_the_state(inverted, folders):
    import nodes

    state = run_node(RetraceTrajectoryLatent, trajectory=inverted[2][0], start_step=4).result[0]
    nodes.SaveLatent().save(state, "level")
