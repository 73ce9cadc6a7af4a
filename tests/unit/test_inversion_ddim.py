"""DDIM inversion: P1, P2, P4 and P13 of the parity tests, against diffusers and the closed form."""

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.samplers.ddim import ddim_step, sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.prediction import denoised_from_output
from retrace_pack.samplers.schedule import make_schedule
from sd_levels import sd_sigmas

PATH = VarianceExploding()

SHAPE = (2, 4, 8, 8)


def randn(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(x_vp: torch.Tensor, timestep: int) -> torch.Tensor:
    """A smooth, nonlinear stand-in for an eps network, in the references' own terms (variance-preserving x, timestep)."""
    return torch.tanh(x_vp + 0.3 * x_vp.roll(1, -1)) * (0.5 + timestep / 2000)


def as_denoiser(table: torch.Tensor, prediction: str = "epsilon"):
    """The network as the function of (x, sigma) that this pack works with."""

    def denoise(x, sigma):
        timestep = int((table - sigma).abs().argmin())
        return denoised_from_output(network(PATH.to_unit(x, sigma), timestep), x, sigma, prediction)

    return denoise


def test_p1_one_step_equals_diffusers_at_every_timestep(sigma_table, sd_scheduler, sd_inverse_scheduler, relative):
    inverse = sd_inverse_scheduler()
    inverse.set_timesteps(50)
    assert inverse.initial_alpha_cumprod == sd_scheduler().final_alpha_cumprod == sd_scheduler().alphas_cumprod[0]
    schedule = make_schedule(sigma_table, 50, terminal="first")
    assert inverse.timesteps.tolist() == list(reversed(schedule.timesteps))
    sigmas = schedule.ascending_sigmas
    for index, t in enumerate(inverse.timesteps.tolist()):
        eps, x = randn(index), randn(100 + index)
        expected = inverse.step(eps, t, x).prev_sample
        result = invert_ddim(
            lambda state, sigma, eps=eps: state - sigma * eps,
            PATH.from_unit(x, sigmas[index]),
            sigmas[index : index + 2],
            path=PATH,
        )
        bound = 1e-6 + 1e-5 * (index == 0)
        assert relative(PATH.to_unit(result.states[-1], sigmas[index + 1]), expected) < bound


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_p2_a_step_forth_and_back_with_one_eps_is_the_identity(sigma_table, prediction):
    """The step up as the paper writes it in the variance-preserving scale, v turned to eps at the level that was asked;
    the step back with that eps gives x again."""
    sigmas = make_schedule(sigma_table, 50).ascending_sigmas
    for index in (1, 20, 48):
        sigma, sigma_next = sigmas[index], sigmas[index + 1]
        abar, abar_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        x_vp, output = randn(1), randn(2)
        eps = output if prediction == "epsilon" else abar_next.sqrt() * output + (1 - abar_next).sqrt() * x_vp
        expected = abar_next.sqrt() * (x_vp - (1 - abar).sqrt() * eps) / abar.sqrt() + (1 - abar_next).sqrt() * eps

        def denoise(state, level, output=output):
            return denoised_from_output(output, state, level, prediction)

        there = invert_ddim(denoise, PATH.from_unit(x_vp, sigma), sigmas[index : index + 2], path=PATH).states[-1]
        torch.testing.assert_close(PATH.to_unit(there, sigma_next), expected, rtol=1e-9, atol=1e-9)
        back = ddim_step(there, there - sigma_next * eps, sigma_next, sigma)
        torch.testing.assert_close(PATH.to_unit(back, sigma), x_vp, rtol=1e-9, atol=1e-9)


def test_p2_diffusers_round_trip_with_one_v_is_not_the_identity(sd_scheduler, sd_inverse_scheduler):
    """Why ours is held against the closed form for v: the reference reads v at the level of x, not where it was asked."""
    forward, inverse = (
        sd_scheduler(prediction_type="v_prediction"),
        sd_inverse_scheduler(prediction_type="v_prediction"),
    )
    forward.set_timesteps(50)
    inverse.set_timesteps(50)
    x, v, t = randn(1), randn(2), 481
    back = forward.step(v, t, inverse.step(v, t, x).prev_sample).prev_sample
    assert float((back - x).abs().max()) > 1e-3


def test_p4_the_loop_equals_the_reference_loop(sigma_table, sd_inverse_scheduler, relative):
    """diffusers' inverse scheduler driven by the same network, all N+1 states; [0] is the input."""
    inverse = sd_inverse_scheduler()
    inverse.set_timesteps(50)
    schedule = make_schedule(sigma_table, 50, terminal="first")
    sigmas = schedule.ascending_sigmas
    x = randn(3)
    expected = [x]
    for t in inverse.timesteps.tolist():
        expected.append(inverse.step(network(expected[-1], t), t, expected[-1]).prev_sample)
    result = invert_ddim(as_denoiser(sigma_table), PATH.from_unit(x, sigmas[0]), sigmas, path=PATH)
    assert result.states.shape == (51, *SHAPE)
    assert torch.equal(result.states[0], PATH.from_unit(x, sigmas[0]))
    for state, sigma, wanted in zip(result.states, sigmas, expected, strict=True):
        assert relative(PATH.to_unit(state, sigma), wanted) < 1e-4


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("spacing", "steps"), [("leading", 50), ("trailing", 30), ("linspace", 13)])
def test_p13_fixed_point_iterations_make_the_round_trip_exact(sigma_table, prediction, spacing, steps):
    errors, residuals = round_trips(sigma_table, prediction, spacing, steps)
    assert all(later < 0.5 * earlier for earlier, later in zip(errors, errors[1:], strict=False))
    assert all(later < earlier for earlier, later in zip(residuals, residuals[1:], strict=False))
    assert errors[-1] < 1e-6 * errors[0]


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_p13_also_where_the_signal_is_gone(spacing):
    """Zero-terminal SNR: with trailing spacing the last step runs from sigma 108 to 4519."""
    errors, residuals = round_trips(sd_sigmas(zero_terminal_snr=True), "v_prediction", spacing, 50)
    assert all(later < 0.5 * earlier for earlier, later in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-6 * errors[0] and residuals[-1] < 1e-6 * residuals[0]


def round_trips(table, prediction, spacing, steps):
    """Mean square error of inversion and sampling, and the largest residual, for 0, 1, 2, 4 and 8 iterations."""
    denoise = as_denoiser(table, prediction)
    schedule = make_schedule(table, steps, spacing)
    x, errors, residuals = randn(4), [], []
    for iterations in (0, 1, 2, 4, 8):
        result = invert_ddim(denoise, x, schedule.ascending_sigmas, fixed_point_iterations=iterations, path=PATH)
        back = sample_ddim(denoise, result.states[-1], schedule.sigmas)
        errors.append(float((back - x).square().mean()))
        residuals.append(float(result.residuals.max()))
    return errors, residuals


def test_zero_iterations_make_one_call_a_step_and_k_make_one_plus_k(sigma_table):
    calls = []
    sigmas = make_schedule(sigma_table, 7).ascending_sigmas
    for iterations in (0, 3):
        calls.clear()
        invert_ddim(
            lambda x, sigma: calls.append(float(sigma)) or 0.5 * x,
            randn(1),
            sigmas,
            fixed_point_iterations=iterations,
            path=PATH,
        )
        assert calls == [float(sigma) for sigma in sigmas[1:] for _ in range(1 + iterations)]


def test_the_input_is_not_changed(sigma_table):
    x = randn(1)
    before = x.clone()
    invert_ddim(
        lambda state, sigma: 0.9 * state,
        x,
        make_schedule(sigma_table, 5).ascending_sigmas,
        fixed_point_iterations=1,
        path=PATH,
    )
    assert torch.equal(x, before)


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [0.0], [0.0, 0.0, 1.0]])
def test_sigmas_that_do_not_ascend_are_refused(sigmas):
    with pytest.raises(ValueError, match="do not ascend from image to noise"):
        invert_ddim(lambda x, sigma: x, randn(1), torch.tensor(sigmas), path=PATH)


def test_negative_iterations_are_refused(sigma_table):
    with pytest.raises(ValueError, match="fixed_point_iterations is -1; give 0 or more"):
        invert_ddim(
            lambda x, sigma: x,
            randn(1),
            make_schedule(sigma_table, 5).ascending_sigmas,
            fixed_point_iterations=-1,
            path=PATH,
        )
