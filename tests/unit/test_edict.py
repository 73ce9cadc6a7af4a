"""EDICT: P11 of the parity tests, and the paper's formulas in its own variance-preserving notation."""

import pytest
import torch
from retrace_pack.inversion.edict import invert_edict, sample_edict
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

P = 0.93


def paper_coefficients(alpha_bar, alpha_bar_clean):
    """x_{t-1} = a_t x_t + b_t eps, DDIM in the paper's words."""
    a = (alpha_bar_clean / alpha_bar).sqrt()
    return a, (1 - alpha_bar_clean).sqrt() - a * (1 - alpha_bar).sqrt()


def paper_denoise(network, x, y, abars):
    """The coupled denoising of one pair along descending alpha-bar indices, the roles swapped at every other step."""
    for t in range(len(abars) - 1, 0, -1):
        a, b = paper_coefficients(abars[t], abars[t - 1])
        if t % 2 == 0:
            x_inter = a * x + b * network(y, abars[t])
            y_inter = a * y + b * network(x_inter, abars[t])
        else:
            y_inter = a * y + b * network(x, abars[t])
            x_inter = a * x + b * network(y_inter, abars[t])
        x = P * x_inter + (1 - P) * y_inter
        y = P * y_inter + (1 - P) * x
    return x, y


def paper_noise(network, x, y, abars):
    """The coupled inversion: every line of `paper_denoise` solved for its input, in reverse."""
    visited = [(x, y)]
    for t in range(1, len(abars)):
        a, b = paper_coefficients(abars[t], abars[t - 1])
        y_inter = (y - (1 - P) * x) / P
        x_inter = (x - (1 - P) * y_inter) / P
        if t % 2 == 0:
            y = (y_inter - b * network(x_inter, abars[t])) / a
            x = (x_inter - b * network(y, abars[t])) / a
        else:
            x = (x_inter - b * network(y_inter, abars[t])) / a
            y = (y_inter - b * network(x, abars[t])) / a
        visited.append((x, y))
    return visited


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("steps", [10, 7])
def test_inversion_equals_the_paper(sigma_table, toy64, network_of, randn, guidance, steps):
    sigmas = make_schedule(sigma_table, steps).ascending_sigmas
    denoise, x = toy64(guidance), randn(1)
    pairs = invert_edict(denoise, x, sigmas, path=PATH).pairs
    assert pairs.shape == (steps + 1, 2, *x.shape) and pairs.dtype == torch.float64
    abars = 1 / (1 + sigmas**2)
    for pair, abar, wanted in zip(pairs, abars, paper_noise(network_of(denoise), x, x, abars), strict=True):
        torch.testing.assert_close(pair * abar.sqrt(), torch.stack(wanted), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("steps", [10, 7])
def test_sampling_equals_the_paper_under_another_network(sigma_table, toy64, network_of, randn, guidance, steps):
    """An edit: the walk down with a prompt other than the inversion's, so it is not held by being its inverse."""
    schedule = make_schedule(sigma_table, steps)
    pair = invert_edict(toy64(), randn(1), schedule.ascending_sigmas, path=PATH).pairs[-1]
    edit = toy64(guidance, phase=0.5)
    abars = 1 / (1 + schedule.ascending_sigmas**2)
    x, y = pair * abars[-1].sqrt()
    expected, _ = paper_denoise(network_of(edit), x, y, abars)
    torch.testing.assert_close(sample_edict(edit, pair, schedule.sigmas, path=PATH), expected, rtol=1e-9, atol=1e-9)


def test_another_mixing_is_exact_too(sigma_table, toy64, randn):
    schedule = make_schedule(sigma_table, 10)
    pairs = invert_edict(toy64(3.0), randn(2), schedule.ascending_sigmas, mixing=0.8, path=PATH).pairs
    torch.testing.assert_close(sample_edict(toy64(3.0), pairs[-1], schedule.sigmas, mixing=0.8, path=PATH), randn(2))
    assert float((sample_edict(toy64(3.0), pairs[-1], schedule.sigmas, path=PATH) - randn(2)).abs().max()) > 1e-2


def test_the_network_is_asked_twice_a_step_in_float32_and_the_callback_told_once(sigma_table, randn):
    schedule = make_schedule(sigma_table, 4)
    asked, told = [], []

    def denoise(x, sigma):
        asked.append((x.dtype, float(sigma)))
        return 0.5 * x

    pairs = invert_edict(
        denoise, randn(1).float(), schedule.ascending_sigmas, callback=lambda *step: told.append(step), path=PATH
    ).pairs
    levels = schedule.ascending_sigmas[1:].float().tolist()
    assert asked == [(torch.float32, level) for level in levels for _ in range(2)]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(schedule.sigmas.flip(0)[1:].tolist()))
    asked.clear(), told.clear()
    sample_edict(denoise, pairs[-1], schedule.sigmas, callback=lambda *step: told.append(step), path=PATH)
    assert asked == [(torch.float32, level) for level in reversed(levels) for _ in range(2)]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(schedule.sigmas[:-1].tolist()))
    assert all(x.shape == denoised.shape == randn(1).shape for _, x, _, denoised in told)


@pytest.mark.parametrize("mixing", [0.5, 1.0, -0.1])
def test_mixing_out_of_range_is_refused(toy64, randn, mixing):
    sigmas = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=f"mixing is {mixing}; give more than 0.5 and less than 1"):
        invert_edict(toy64(), randn(1), sigmas, mixing=mixing, path=PATH)
    with pytest.raises(ValueError, match="mixing is"):
        sample_edict(toy64(), torch.stack([randn(1)] * 2), sigmas.flip(0), mixing=mixing, path=PATH)
