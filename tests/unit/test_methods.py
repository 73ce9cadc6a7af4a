"""inversion/methods: what the registry says about each method is what its functions do."""

import inspect
from functools import partial

import pytest
import torch
from retrace_pack.inversion.methods import METHODS, Choice, Number, methods_of, settings_of
from retrace_pack.samplers.noise import noise_source
from retrace_pack.samplers.path import RectifiedFlow, VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()


@pytest.fixture(params=METHODS, ids=str)
def method(request):
    return METHODS[request.param]


def defaults(method) -> dict:
    return method.arguments({name: setting.default for name, setting in method.settings.items()})


def invert(method, denoise, x, sigmas, path=PATH):
    drawn = {"noise": noise_source(x.shape, (5,))} if method.draws_noise else {}
    return method.invert(denoise, x, sigmas, path=path, **defaults(method), **drawn)


def walk_back(method, denoise, found, sigmas, path=PATH):
    """The way back from the noise end, with the arguments that the registry documents for what is stored."""
    sample = partial(method.sample, denoise, **{name: defaults(method)[name] for name in method.kept})
    if method.stores == "pair":
        return sample(found.pairs[-1], sigmas, path=path)
    if method.stores == "noise maps":
        return sample(found.states[-1], sigmas, path=path, noise_maps=found.noise_maps)
    return sample(found.states[-1], sigmas)


def flow(x, s):
    return x - s * (0.5 * torch.tanh(x.roll(1, -1)) - 0.2 * s * x + 0.1)


@pytest.fixture
def way(method, sigma_table, toy64):
    """(denoise, path, ascending levels): those of Stable Diffusion, except for what is made for flows."""
    if method.family == "flow":
        return flow, RectifiedFlow(), torch.linspace(0, 1, 21, dtype=torch.float64)
    return toy64(), PATH, make_schedule(sigma_table, 10).ascending_sigmas


def test_what_is_stored_is_what_the_inversion_gives(method, way, randn):
    denoise, path, sigmas = way
    found = invert(method, denoise, randn(1), sigmas, path)
    given = {"pair": found.pairs, "noise maps": found.noise_maps, "plain": found.asks}
    assert {kind for kind, tensor in given.items() if tensor is not None} == {method.stores}


def test_the_way_back_leads_to_the_image(method, way, randn):
    denoise, path, sigmas = way
    found = invert(method, denoise, randn(1), sigmas, path)
    missed = walk_back(method, denoise, found, sigmas.flip(0), path) - randn(1)
    # A plain method is as exact as its order lets it be in 10 steps; the images have unit variance.
    assert float(missed.square().mean().sqrt()) < (0.2 if method.stores == "plain" else 1e-5)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.stores != "plain"])
def test_an_exact_method_is_exact_on_a_flow(name, randn):
    """From the image at 0 to pure noise at 1, where a = 0; the denoiser stands for any network."""
    method = METHODS[name]
    path, sigmas = RectifiedFlow(), torch.linspace(0, 1, 9, dtype=torch.float64)
    x = randn(1).double()

    found = invert(method, flow, x, sigmas, path)
    assert bool(torch.isfinite(found.states).all())
    assert float((walk_back(method, flow, found, sigmas.flip(0), path) - x).abs().max()) < 1e-4


def test_settings_have_defaults_that_they_allow_and_that_the_functions_share(method):
    for name, setting in method.settings.items():
        default = method.arguments({other: each.default for other, each in method.settings.items()})[name]
        assert setting.allows(default)
        assert inspect.signature(method.invert).parameters[name].default == default
    assert (
        set(method.kept) <= method.settings.keys()
        and set(method.kept) <= inspect.signature(method.sample).parameters.keys()
    )


def test_values_out_of_bounds_are_not_allowed():
    mixing, order = settings_of("exact")["mixing"], settings_of("noise maps")["order"]
    assert isinstance(mixing, Number) and isinstance(order, Choice)
    assert [mixing.allows(value) for value in (0.5, 0.51, 0.93, 0.999, 1.0, float("nan"))] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert [order.allows(value) for value in (1, 2, 3, 1.5)] == [True, True, False, False]
    assert order.value_of("dpm++ 2m") == 2


def test_the_choices_of_saved_workflows_stay_in_their_order():
    assert list(methods_of("exact"))[:3] == ["o-belm", "bdia", "edict"]
    assert list(methods_of("ddim"))[:3] == ["ddim", "dpm++ 2m", "res 2m"]
