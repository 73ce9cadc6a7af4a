"""O-BELM: P11 of the parity tests, and the paper's formulas in its own variance-preserving notation."""

import pytest
import torch
from retrace_pack.inversion.belm import invert_belm, sample_belm
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()


def paper_scales(abars):
    """alpha_i and the step h_i = sigma_i / alpha_i - sigma_{i-1} / alpha_{i-1} (h_0 is not used)."""
    alpha, sigma = abars.sqrt(), (1 - abars).sqrt()
    return alpha, torch.cat([torch.zeros(1, dtype=abars.dtype), (sigma / alpha)[1:] - (sigma / alpha)[:-1]])


def paper_sample(network, z_above, z, abars):
    """x_{i-1} from x_{i+1}, x_i and eps(x_i, i): the optimal coefficients of the paper."""
    alpha, h = paper_scales(abars)
    for i in range(len(abars) - 2, 0, -1):
        z_below = (
            h[i] ** 2 / h[i + 1] ** 2 * (alpha[i - 1] / alpha[i + 1]) * z_above
            + (h[i + 1] ** 2 - h[i] ** 2) / h[i + 1] ** 2 * (alpha[i - 1] / alpha[i]) * z
            - h[i] * (h[i] + h[i + 1]) / h[i + 1] * alpha[i - 1] * network(z, abars[i])
        )
        z_above, z = z, z_below
    return z


def paper_invert(network, z, abars):
    """The same equation solved for x_{i+1}, after one DDIM step asked at its destination."""
    alpha, h = paper_scales(abars)
    eps = network(z, abars[1])
    visited = [z, alpha[1] / alpha[0] * (z - (1 - abars[0]).sqrt() * eps) + (1 - abars[1]).sqrt() * eps]
    for i in range(1, len(abars) - 1):
        rest = visited[i - 1]
        rest = rest - (h[i + 1] ** 2 - h[i] ** 2) / h[i + 1] ** 2 * (alpha[i - 1] / alpha[i]) * visited[i]
        rest = rest + h[i] * (h[i] + h[i + 1]) / h[i + 1] * alpha[i - 1] * network(visited[i], abars[i])
        visited.append(rest * h[i + 1] ** 2 / h[i] ** 2 * (alpha[i + 1] / alpha[i - 1]))
    return visited


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("terminal", ["clean", "first"])
def test_inversion_equals_the_paper(sigma_table, toy64, network_of, randn, guidance, terminal):
    sigmas = make_schedule(sigma_table, 10, terminal=terminal).ascending_sigmas
    denoise, x = toy64(guidance), randn(1)
    abars = 1 / (1 + sigmas**2)
    pairs = invert_belm(denoise, x / abars[0].sqrt(), sigmas, path=PATH).pairs
    for state, abar, wanted in zip(pairs[:, 0], abars, paper_invert(network_of(denoise), x, abars), strict=True):
        assert float((state * abar.sqrt() - wanted).abs().max() / wanted.abs().max()) < 1e-8


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
def test_sampling_equals_the_paper_under_another_network(sigma_table, toy64, network_of, randn, guidance):
    """An edit: the walk down with a prompt other than the inversion's, so it is not held by being its inverse."""
    schedule = make_schedule(sigma_table, 10)
    pair = invert_belm(toy64(), randn(1), schedule.ascending_sigmas, path=PATH).pairs[-1]
    edit = toy64(guidance, phase=0.5)
    abars = 1 / (1 + schedule.ascending_sigmas**2)
    expected = paper_sample(network_of(edit), pair[0] * abars[-1].sqrt(), pair[1] * abars[-2].sqrt(), abars)
    torch.testing.assert_close(sample_belm(edit, pair, schedule.sigmas, path=PATH), expected, rtol=1e-8, atol=1e-8)


def test_it_is_of_second_order(randn):
    """Gaussian data of variance s^2 has x(sigma) = x(0) sqrt(s^2 + sigma^2) / s; twice the steps, a quarter of the error."""
    spread = 0.7

    def denoise(x, sigma):
        return x.double() * spread**2 / (spread**2 + sigma.double() ** 2)

    def error(steps):
        sigmas = torch.linspace(2.0, 0.2, steps + 1, dtype=torch.float64)
        truth = randn(1) * (spread**2 + sigmas.view(-1, 1, 1, 1, 1) ** 2).sqrt()
        return float((sample_belm(denoise, truth[:2], sigmas, path=PATH) - truth[-1]).abs().max())

    assert 3.5 < error(20) / error(40) < 4.5 and 3.5 < error(40) / error(80) < 4.5
