"""P16: inversion/flow_solvers against the papers' formulas, in the notation of their codes: a velocity v(x, t), t 0 to 1."""

import pytest
import torch
from retrace_pack.inversion.flow_solvers import LOWEST_ASKED, invert_dna, invert_midpoint, invert_uni, sample_midpoint
from retrace_pack.samplers.noise import noise_source
from retrace_pack.samplers.path import RectifiedFlow

PATH = RectifiedFlow()
UP = torch.linspace(0.05, 1, 9, dtype=torch.float64)
"""From above 0, where the codes ask at the very level; at 0 itself ours ask at LOWEST_ASKED."""


def v(x, t):
    return 0.6 * torch.tanh(x.roll(1, -1)) - 0.3 * t * x + 0.4 * torch.sin(x + t)


@pytest.fixture
def calls():
    return []


@pytest.fixture
def denoise(calls):
    def denoise(x, s):
        calls.append(float(s))
        return x - s * v(x, s)

    return denoise


@pytest.fixture
def x(randn):
    return randn(1)


def steps():
    return zip(UP[:-1], UP[1:], strict=True)


def rf_solver(x):
    """Its Taylor step: x + dt v + dt^2 / 2 v', with v' by a finite difference over half a step, as the code has it."""
    states = [x]
    for t, t_next in steps():
        dt = t_next - t
        pred = v(x, t)
        mid = v(x + dt / 2 * pred, t + dt / 2)
        x = x + dt * pred + 0.5 * dt**2 * (mid - pred) / (dt / 2)
        states.append(x)
    return torch.stack(states)


def fireflow(x):
    states, pred = [x], v(x, UP[0])
    for t, t_next in steps():
        pred = v(x + (t_next - t) / 2 * pred, t + (t_next - t) / 2)
        x = x + (t_next - t) * pred
        states.append(x)
    return torch.stack(states)


def uni_inv(x, v_prev):
    states = [x]
    for t, t_next in steps():
        v_prev = v(x + (t_next - t) * v_prev, t_next)
        x = x + (t_next - t) * v_prev
        states.append(x)
    return torch.stack(states)


def dna(x, noise):
    """DNAEdit: toward the noise, which is corrected by what the network says of the direction."""
    states = [x]
    for t, t_next in steps():
        toward = (noise - x) / (1 - t)
        found = v(x + (t_next - t) * toward, t_next)
        noise = noise - (toward - found) * (1 - t)
        x = x + (t_next - t) * found
        states.append(x)
    return torch.stack(states)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_f6_rf_solver_is_the_midpoint_rule_with_2n_calls(denoise, calls, x):
    close(invert_midpoint(denoise, x, UP, path=PATH).states, rf_solver(x))
    assert len(calls) == 2 * (len(UP) - 1)


def test_f6_fireflow_begins_as_rf_solver_and_takes_n_plus_1_calls(denoise, calls, x):
    ours = invert_midpoint(denoise, x, UP, path=PATH, reuse=True).states
    close(ours, fireflow(x))
    close(ours[1], rf_solver(x)[1])
    assert len(calls) == len(UP) - 1 + 1
    assert float((ours[2] - rf_solver(x)[2]).abs().max()) > 1e-6


def test_f6_uni_inv_takes_n_plus_1_calls(denoise, calls, x):
    close(invert_uni(denoise, x, UP, path=PATH).states, uni_inv(x, v(x, UP[0])))
    assert len(calls) == len(UP) - 1 + 1


def test_f6_dna_is_uni_inv_that_begins_toward_the_noise(denoise, calls, x):
    noise = noise_source(x.shape, (3,))().double()
    ours = invert_dna(denoise, x, UP, path=PATH, noise=noise_source(x.shape, (3,))).states
    close(ours, dna(x, noise))
    close(ours, uni_inv(x, (noise - x) / (1 - UP[0])))
    assert len(calls) == len(UP) - 1


@pytest.mark.parametrize("reuse", [False, True])
def test_the_way_down_is_the_same_rule_and_of_second_order(denoise, x, reuse):
    """Half the step brings a quarter of the error of the round trip, or less."""
    missed = []
    for count in (20, 40):
        levels = torch.linspace(0.05, 1, count + 1, dtype=torch.float64)
        up = invert_midpoint(denoise, x, levels, path=PATH, reuse=reuse).states[-1]
        missed.append(float((sample_midpoint(denoise, up, levels.flip(0), reuse=reuse) - x).square().mean().sqrt()))
    assert missed[1] < missed[0] / 3.5


@pytest.mark.parametrize("invert", [invert_uni, invert_midpoint])
def test_from_the_image_itself_the_velocity_is_asked_just_above_it(denoise, calls, x, invert):
    levels = torch.linspace(0, 1, 9, dtype=torch.float64)
    states = invert(denoise, x, levels, path=PATH).states
    assert calls[0] == LOWEST_ASKED and bool(torch.isfinite(states).all())
    lifted = torch.cat([levels[:1] + 1e-9, levels[1:]])
    torch.testing.assert_close(invert(denoise, x, lifted, path=PATH).states, states, rtol=0, atol=1e-8)


@pytest.mark.parametrize("invert", [invert_uni, invert_midpoint])
def test_levels_that_do_not_ascend_are_refused(denoise, x, invert):
    with pytest.raises(ValueError, match="do not ascend strictly from image to noise"):
        invert(denoise, x, UP.flip(0), path=PATH)
    with pytest.raises(ValueError, match="do not descend"):
        sample_midpoint(denoise, x, UP)
