"""What a Trajectory provides, and what it refuses."""

import logging
from dataclasses import replace

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.inversion.trajectory import (
    InversionFacts,
    ModelFacts,
    NullEmbeddings,
    plain_trajectory,
    prompts_digest,
)
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

STEPS = 6


@pytest.fixture
def trajectory(sigma_table):
    table = sigma_table.float()
    schedule = make_schedule(table, STEPS)
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    inversion = invert_ddim(lambda state, sigma: torch.tanh(state), x, schedule.ascending_sigmas, path=PATH)
    return plain_trajectory(
        inversion.states,
        schedule.ascending_sigmas,
        inversion.residuals,
        ModelFacts(table, "epsilon", "SD15", "weights"),
        InversionFacts("ddim", STEPS, "leading", "clean", 1.0, "prompts"),
    )


def test_the_state_and_the_levels_of_a_start_step_belong_together(trajectory):
    for start_step in range(STEPS):
        remaining = trajectory.remaining_sigmas(start_step)
        assert len(remaining) == STEPS - start_step + 1
        assert remaining[0] == trajectory.sigmas[STEPS - start_step]
        assert torch.equal(trajectory.latent_at(start_step), trajectory.latents[STEPS - start_step])
    assert torch.equal(trajectory.remaining_sigmas(0), trajectory.sigmas.flip(0))


@pytest.mark.parametrize("start_step", [-1, STEPS, 99])
def test_a_start_step_beyond_the_schedule_is_refused(trajectory, start_step):
    with pytest.raises(ValueError, match=f"start_step {start_step} is beyond the trajectory's 6 steps; choose 0 to 5"):
        trajectory.latent_at(start_step)
    with pytest.raises(ValueError, match="is beyond the trajectory's 6 steps"):
        trajectory.remaining_sigmas(start_step)


def test_the_predicted_image_is_what_the_network_said(sigma_table):
    """Computed from two successive states, without evaluating the network again."""
    said = []
    sigmas = make_schedule(sigma_table, STEPS).ascending_sigmas

    def denoise(x, sigma):
        said.append(0.9 * x + 0.05 * torch.sin(x))
        return said[-1]

    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    # With an exact fixed point the network was evaluated at exactly the state that was kept.
    inversion = invert_ddim(denoise, x, sigmas, fixed_point_iterations=30, path=PATH)
    facts = InversionFacts("ddim", STEPS, "leading", "clean", 1.0, "p")
    model = ModelFacts(sigma_table.float(), "epsilon", "SD15", "w")
    trajectory = plain_trajectory(inversion.states, sigmas, inversion.residuals, model, facts)
    last_said = torch.stack(said[30::31]).float()
    torch.testing.assert_close(trajectory.predicted_clean(), last_said, rtol=1e-4, atol=1e-4)
    assert torch.equal(trajectory.evenly_spaced_predictions(3), trajectory.predicted_clean()[[0, 2, 5]])
    assert len(trajectory.evenly_spaced_predictions(100)) == STEPS


def test_the_same_model_passes_and_other_weights_only_warn(trajectory, caplog):
    with caplog.at_level(logging.WARNING):
        trajectory.require_model(trajectory.model)
        assert not caplog.records
        trajectory.require_model(replace(trajectory.model, weights="other"))
    assert "made with other weights" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": "v_prediction"}, "^the trajectory's prediction is 'epsilon', but the model's is 'v_pred"),
        ({"latent_format": "SDXL"}, "^the trajectory's latent_format is 'SD15', but the model's is 'SDXL'"),
        ({"sigma_table": torch.linspace(0.03, 9.0, 1000)}, "^the trajectory was made with another noise schedule"),
        ({"sigma_table": torch.linspace(0.03, 14.6, 900)}, "^the trajectory was made with another noise schedule"),
    ],
)
def test_another_kind_of_model_is_refused(trajectory, change, message):
    with pytest.raises(ValueError, match=message):
        trajectory.require_model(replace(trajectory.model, **change))


def test_another_latent_shape_is_refused(trajectory):
    trajectory.require_latent_shape(torch.Size((2, 4, 8, 8)))
    with pytest.raises(ValueError, match=r"^the latent has the shape \(1, 4, 8, 8\).*is \(2, 4, 8, 8\)"):
        trajectory.require_latent_shape(torch.Size((1, 4, 8, 8)))


def pairs_of(trajectory):
    return torch.stack([trajectory.latents, trajectory.latents + 1], dim=1).double()


def noise_maps_of(trajectory):
    return torch.ones_like(trajectory.latents[1:])


def test_a_trajectory_says_what_it_takes_to_continue_it(trajectory):
    assert trajectory.kind == "plain"
    trajectory.require_plain("choose another")
    extended = {
        "pair": trajectory.with_pairs(pairs_of(trajectory)),
        "noise maps": trajectory.with_noise_maps(noise_maps_of(trajectory)),
    }
    for kind, other in extended.items():
        assert other.kind == kind
        assert torch.equal(other.latents, trajectory.latents)
        exact = replace(other, inversion=replace(other.inversion, method="bdia"))
        message = (
            f"^the trajectory was made by bdia and continues from its {kind}, not from a latent alone; choose another.$"
        )
        with pytest.raises(ValueError, match=message):
            exact.require_plain("choose another")


def test_null_embeddings_leave_the_path_plain(trajectory):
    null_text = NullEmbeddings(torch.ones(STEPS, 7, 8), None, None, 7.5)
    optimized = trajectory.with_null_text(null_text)
    optimized.require_plain("choose another")
    assert optimized.null_text is null_text and trajectory.null_text is None
    assert torch.equal(optimized.latents, trajectory.latents)


def test_pairs_keep_float64_and_noise_maps_are_float32(trajectory):
    pairs, maps = pairs_of(trajectory) + 1e-12, noise_maps_of(trajectory).double()
    assert torch.equal(trajectory.with_pairs(pairs).pairs, pairs)
    assert trajectory.with_noise_maps(maps).noise_maps.dtype == torch.float32


def test_extras_that_overflowed_are_refused(trajectory):
    for add, extra in (
        (trajectory.with_pairs, pairs_of(trajectory)),
        (trajectory.with_noise_maps, noise_maps_of(trajectory)),
    ):
        extra[2, 0, 0, 0] = float("inf")
        with pytest.raises(ValueError, match=r"the inversion \(ddim\) is NaN or infinite; the model overflowed"):
            add(extra)


def test_a_state_that_overflowed_is_refused(trajectory):
    broken = trajectory.latents.clone()
    broken[3, 0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="is NaN or infinite; the model overflowed"):
        plain_trajectory(broken, trajectory.sigmas, trajectory.residuals, trajectory.model, trajectory.inversion)


def test_the_prompts_digest_tells_prompts_apart():
    first, second = torch.zeros(1, 77, 8), torch.ones(1, 77, 8)
    assert prompts_digest([first]) == prompts_digest([first.clone()])
    assert len({prompts_digest(tensors) for tensors in ([first], [second], [first, second], [second, first])}) == 4
