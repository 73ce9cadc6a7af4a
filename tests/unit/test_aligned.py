"""The aligned way back: the network gets the inputs of the inversion, and the image comes back whatever the solver missed."""

from functools import partial

import pytest
import torch
from retrace_pack.inversion.aligned import aligned_denoise
from retrace_pack.inversion.methods import METHODS
from retrace_pack.samplers.noise import noise_source
from retrace_pack.samplers.path import RectifiedFlow, VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PLAIN = [name for name, method in METHODS.items() if method.stores == "plain"]
ON_ANY_PATH = [name for name in PLAIN if METHODS[name].family == "ddim"]
FLOW = (RectifiedFlow(), torch.linspace(0, 1, 11, dtype=torch.float64) ** 0.8)


@pytest.fixture
def ways(sigma_table, toy):
    """The family of a method -> path, ascending levels, and prompt -> denoiser."""

    def flow(phase: float = 0.0):
        return lambda x, s: x - s * (0.7 * torch.tanh(x.roll(1, -1) + phase) + 0.4 * torch.sin(x + 2 * s))

    exploding = VarianceExploding(), make_schedule(sigma_table, 10).ascending_sigmas
    return {"flow": (*FLOW, flow), "unet": (*exploding, lambda phase=0.0: toy(phase=phase))}


def walk(name, way, x, start=0, back=0.0, aligned=True, **settings):
    """(The image that comes back from `start` steps below the noise end, the states, the calls down)."""
    path, sigmas, prompt = way
    method, calls = METHODS[name], []
    drawn = {"noise": noise_source(x.shape, (7,))} if method.draws_noise else {}
    found = method.invert(prompt(), x, sigmas, path=path, **settings, **drawn)
    levels = sigmas.flip(0)[start:]

    def asked(x, s):
        calls.append(s)
        return prompt(back)(x, s)

    denoise = aligned_denoise(asked, found.asks, levels) if aligned else asked
    sample = method.sample_aligned if aligned and method.sample_aligned else method.sample
    return sample(denoise, found.states[len(levels) - 1], levels), found, calls


@pytest.mark.parametrize("family", ["flow", "unet"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {}) for name in PLAIN),
        ("ddim", {"fixed_point_iterations": 2}),
        ("ddim", {"fixed_point_iterations": 3, "acceleration": "anderson"}),
        ("euler", {"fixed_point_iterations": 2, "acceleration": "mean"}),
    ],
    ids=str,
)
def test_f3_the_same_prompt_gives_the_image_back(ways, randn, family, name, settings):
    """Every solver, one evaluation a step; without alignment it is over a hundred times further away."""
    if family == "unet" and METHODS[name].family == "flow":
        family = "flow"
    x, steps = randn(1), len(ways[family][1]) - 1
    back, _, calls = walk(name, ways[family], x, **settings)
    assert float((back - x).abs().max()) < 1e-12 and len(calls) == steps
    off = walk(name, ways[family], x, aligned=False, **settings)[0]
    assert float((off - x).abs().max()) > 100 * max(float((back - x).abs().max()), 1e-9)


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in ("dpm++ 2m", "res 2m")])
def test_f3_a_start_in_the_middle_is_exact_too(ways, randn, name):
    x = randn(1)
    for start in (1, 4, 9):
        assert float((walk(name, ways["flow"], x, start)[0] - x).abs().max()) < 1e-12


@pytest.mark.parametrize("name", PLAIN)
def test_another_prompt_is_an_edit(ways, randn, name):
    """The offsets do not hold the walk to the image: where the answers differ, so does the result."""
    x = randn(1)
    assert float((walk(name, ways["flow"], x, back=0.5)[0] - x).square().mean()) > 1e-3


def test_the_networks_inputs_on_the_way_back_are_those_of_the_inversion(ways, randn):
    path, sigmas, prompt = ways["flow"]
    asked = []

    def recording(x, s):
        asked.append((x, s))
        return prompt()(x, s)

    found = METHODS["midpoint"].invert(recording, randn(1), sigmas, path=path)
    up = asked[1::2]
    asked.clear()
    aligned = aligned_denoise(recording, found.asks, sigmas.flip(0))
    METHODS["midpoint"].sample_aligned(aligned, found.states[-1], sigmas.flip(0))
    for (x, s), (x_down, s_down) in zip(reversed(up), asked, strict=True):
        torch.testing.assert_close(x_down, x, rtol=0, atol=1e-12)
        assert s == s_down


@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_only_iterations_need_corrections(ways, randn, name):
    path, sigmas, prompt = ways["flow"]
    invert = partial(METHODS[name].invert, prompt(), randn(1), sigmas, path=path)
    assert invert().asks.corrections is None
    assert invert(fixed_point_iterations=1).asks.corrections is not None


def test_rows_share_the_offsets_of_the_source(ways, randn):
    """One trajectory, two prompts: the row of the source comes back while the other is an edit."""
    x = randn(1)[:1]
    path, sigmas, prompt = ways["flow"]
    found = METHODS["ddim"].invert(prompt(), x, sigmas, path=path)

    def both(x, s):
        return torch.cat([prompt()(x[:1], s), prompt(0.5)(x[1:], s)])

    start = found.states[-1].repeat(2, 1, 1, 1)
    back = METHODS["ddim"].sample(aligned_denoise(both, found.asks, sigmas.flip(0)), start, sigmas.flip(0))
    torch.testing.assert_close(back[:1], x, rtol=0, atol=1e-12)
    torch.testing.assert_close(back[1:], walk("ddim", ways["flow"], x, back=0.5)[0], rtol=0, atol=1e-12)
