"""The methods on a rectified flow, from the image at level 0 to noise alone at level 1, in float64 and without ComfyUI."""

from functools import partial

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.inversion.methods import METHODS
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.noise import noise_source
from retrace_pack.samplers.path import RectifiedFlow

PATH = RectifiedFlow()
UP = torch.linspace(0, 1, 13, dtype=torch.float64) ** 0.7
STEPS = len(UP) - 1


def velocity(x, s, guidance=1.0):
    """A smooth network under guidance."""
    without = 0.6 * torch.tanh(x.roll(1, -1)) - 0.3 * s * x
    return without + guidance * (0.4 * torch.sin(x + s) - 0.1 * x.roll(1, -2))


def toy(guidance=1.0):
    """As a denoiser in float64, whatever it is asked in: the exact methods ask in float32."""
    return lambda x, s: x.double() - s.double() * velocity(x.double(), s.double(), guidance)


@pytest.fixture
def x(randn):
    return randn(1)


def test_f1_the_way_up_is_euler_with_the_destinations_level(x):
    """x' = x + (s' - s) v(x, s'): the network sees the state of one level at the next one, as DirectEdit's inversion does."""
    states = invert_ddim(toy(), x, UP, path=PATH).states
    for level in range(STEPS):
        step = UP[level + 1] - UP[level]
        expected = states[level] + step * velocity(states[level], UP[level + 1])
        torch.testing.assert_close(states[level + 1], expected, rtol=0, atol=1e-13)


def test_f1_the_way_down_is_euler(x):
    result, expected = sample_ddim(toy(), x, UP.flip(0)), x
    for s, s_next in zip(UP.flip(0)[:-1], UP.flip(0)[1:], strict=True):
        expected = expected + (s_next - s) * velocity(expected, s)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("name", ["o-belm", "edict"])
def test_f7_a_pair_comes_back(x, name, guidance):
    """EDICT parts its copies by the mixing at every step, so that it is compared at the cfg where they stay together."""
    method, settings = METHODS[name], {"edict": {"mixing": 0.93}}.get(name, {})
    found = method.invert(_rounded(toy(guidance)), x, UP, path=PATH, **settings)
    assert bool(torch.isfinite(found.states).all()) and UP[-1] == 1
    back = method.sample(_rounded(toy(guidance)), found.pairs[-1], UP.flip(0), path=PATH, **settings)
    assert float((back - x).square().mean()) < (1e-8 if name == "edict" and guidance > 1 else 1e-20)


def _rounded(denoise):
    """The same answer to all questions that float32 rounds alike: exact methods ask in float32, and rounding is not their error."""
    return lambda x, s: denoise(x.float(), s.float())


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("settings", [{"eta": 1.0}, {"eta": 0.5}, {"order": 2}], ids=str)
def test_f7_noise_maps_come_back(x, settings, guidance):
    method = METHODS["edit-friendly"]
    found = method.invert(toy(guidance), x, UP, path=PATH, noise=noise_source(x.shape, (3,)), **settings)
    back = method.sample(
        toy(guidance), found.states[-1], UP.flip(0), path=PATH, noise_maps=found.noise_maps, **settings
    )
    assert float((back - x).square().mean()) < 1e-12
    other = method.sample(toy(2.0), found.states[-1], UP.flip(0), path=PATH, noise_maps=found.noise_maps, **settings)
    assert float((other - x).square().mean()) > 1e-4


@pytest.mark.parametrize("acceleration", ["none", "anderson"])
def test_f8_the_residual_falls_at_every_iteration_and_the_way_back_comes_home(x, acceleration):
    residuals, missed = [], []
    for iterations in range(5):
        found = invert_ddim(toy(), x, UP, path=PATH, fixed_point_iterations=iterations, acceleration=acceleration)
        residuals.append(float(found.residuals.max()))
        missed.append(float((sample_ddim(toy(), found.states[-1], UP.flip(0)) - x).square().mean()))
    assert residuals == sorted(residuals, reverse=True) and missed == sorted(missed, reverse=True)
    assert missed[4] < 1e-4 * missed[0]


@pytest.mark.parametrize("name", ["dpm++ 2m", "res 2m"])
def test_the_second_order_methods_are_nearer_in_half_the_steps(x, name):
    method, few = METHODS[name], UP[::2]
    found = method.invert(toy(), x, few, path=PATH)
    second = method.sample(toy(), found.states[-1], few.flip(0)) - x
    first = sample_ddim(toy(), invert_ddim(toy(), x, UP, path=PATH).states[-1], UP.flip(0)) - x
    assert second.square().mean() < 0.25 * first.square().mean()


def test_a_noise_scale_is_carried_through(x):
    """The states of a path with louder noise are reached by the same walk; only what is drawn is louder."""
    path, noise = RectifiedFlow(noise_scale=8.0), partial(noise_source, x.shape)
    found = METHODS["edit-friendly"].invert(toy(), x, UP, path=path, noise=noise((3,)))
    plain = METHODS["edit-friendly"].invert(toy(), x, UP, path=PATH, noise=noise((3,)))
    torch.testing.assert_close(found.states[-1], 8 * plain.states[-1], rtol=1e-12, atol=1e-12)
