"""Inversion of the second-order samplers: the round trip, its cost, and its order of convergence."""

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.inversion.multistep import invert_multistep
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.multistep import sample_multistep
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

RULES = ["dpm++ 2m", "res 2m"]


def gaussian(spread):
    """The denoiser of Gaussian data with that standard deviation."""
    return lambda x, sigma: x * spread**2 / (spread**2 + sigma**2)


def round_trip_error(denoise, x, ascending, rule, start_iterations=2):
    noise = invert_multistep(
        denoise, x, ascending, path=VarianceExploding(), rule=rule, start_iterations=start_iterations
    ).states[-1]
    return float((sample_multistep(denoise, noise, ascending.flip(0), rule) - x).square().mean().sqrt())


@pytest.mark.parametrize("rule", RULES)
def test_its_states_solve_the_samplers_steps_to_third_order(randn, rule):
    """The round trip's error falls eightfold or more with half the steps' length, the sampler's own fourfold."""

    def error(steps):
        ascending = torch.logspace(-1.5, 1.0, steps + 1, dtype=torch.float64)
        return round_trip_error(gaussian(0.7), randn(1), ascending, rule)

    assert error(40) / error(80) > 7 and error(80) / error(160) > 7
    assert error(80) < 1e-4


@pytest.mark.parametrize("rule", RULES)
def test_it_follows_the_exact_solution_to_second_order(randn, rule):
    spread = 0.7

    def error(steps):
        ascending = torch.logspace(-1.5, 1.0, steps + 1, dtype=torch.float64)
        truth = randn(1) * (spread**2 + ascending.view(-1, 1, 1, 1, 1) ** 2).sqrt()
        states = invert_multistep(gaussian(spread), truth[0], ascending, path=VarianceExploding(), rule=rule).states
        return float((states[-1] - truth[-1]).abs().max())

    assert 3.3 < error(80) / error(160) < 5


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("terminal", ["clean", "first"])
def test_twenty_five_steps_come_back_nearer_than_ddim_with_twice_as_many(sigma_table, toy64, randn, rule, terminal):
    denoise, x = toy64(), 0.7 * randn(1)
    schedule = make_schedule(sigma_table, 25, terminal=terminal)
    finer = make_schedule(sigma_table, 50, terminal=terminal)
    noise = invert_ddim(denoise, x, finer.ascending_sigmas, path=VarianceExploding()).states[-1]
    ddim = float((sample_ddim(denoise, noise, finer.sigmas) - x).square().mean().sqrt())
    assert round_trip_error(denoise, x, schedule.ascending_sigmas, rule) < ddim / 3


def test_start_iterations_find_the_state_above_a_clean_image(sigma_table, toy64, randn):
    denoise, x = toy64(), 0.7 * randn(1)
    ascending = make_schedule(sigma_table, 25).ascending_sigmas

    def error(start_iterations):
        state = invert_multistep(
            denoise, x, ascending[:2], path=VarianceExploding(), start_iterations=start_iterations
        ).states[-1]
        return float((denoise(state, ascending[1]) - x).square().mean().sqrt())

    assert error(2) < 0.1 * error(1) < 0.01 * error(0)


@pytest.mark.parametrize("start_iterations", [0, 2])
def test_one_call_a_level_but_for_the_first_two(sigma_table, start_iterations):
    calls, reported = [], []
    ascending = make_schedule(sigma_table, 7).ascending_sigmas
    result = invert_multistep(
        lambda x, sigma: calls.append(float(sigma)) or 0.5 * x,
        torch.ones(1, 4, 2, 2, dtype=torch.float64),
        ascending,
        path=VarianceExploding(),
        start_iterations=start_iterations,
        callback=lambda *step: reported.append(step),
    )
    levels = ascending[1:].tolist()
    repeats = 1 + start_iterations
    assert calls == [*[levels[0]] * repeats, *[levels[1]] * repeats, *levels[2:]]
    assert [(step, float(sigma)) for step, _, sigma, _ in reported] == list(enumerate(levels))
    assert result.states.shape == (8, 1, 4, 2, 2) and result.residuals.shape == (7,)


def test_a_batch_equals_its_rows_and_the_input_stays(sigma_table, toy64, randn):
    ascending = make_schedule(sigma_table, 6).ascending_sigmas
    x = randn(3)
    together = invert_multistep(toy64(3.0), x, ascending, path=VarianceExploding()).states
    assert torch.equal(x, randn(3)) and torch.equal(together[0], x)
    for row in range(len(x)):
        alone = invert_multistep(toy64(3.0), x[row : row + 1], ascending, path=VarianceExploding()).states
        torch.testing.assert_close(alone, together[:, row : row + 1])


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [1.0], [0.0, 1.0, 1.0]])
def test_sigmas_that_do_not_strictly_ascend_are_refused(randn, sigmas):
    with pytest.raises(ValueError, match="do not strictly"):
        invert_multistep(gaussian(1.0), randn(1), torch.tensor(sigmas), path=VarianceExploding())


def test_negative_iterations_are_refused(sigma_table, randn):
    with pytest.raises(ValueError, match="start_iterations is -1; give 0 or more"):
        invert_multistep(
            gaussian(1.0),
            randn(1),
            make_schedule(sigma_table, 5).ascending_sigmas,
            path=VarianceExploding(),
            start_iterations=-1,
        )
