"""BDIA: P11 of the parity tests, and the paper's formulas in its own variance-preserving notation."""

import pytest
import torch
from retrace_pack.inversion.bdia import invert_bdia, sample_bdia
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()


def ddim(z, eps, abar, abar_to):
    """The DDIM map of the paper, D(z: i -> j), upwards as well as downwards."""
    clean = (z - (1 - abar).sqrt() * eps) / abar.sqrt()
    return abar_to.sqrt() * clean + (1 - abar_to).sqrt() * eps


def paper_invert(network, z, abars, gamma):
    """z_{i+1} = D(z_i: i -> i+1) + (z_{i-1} - D(z_i: i -> i-1)) / gamma, after one DDIM step asked at its destination."""
    visited = [z, ddim(z, network(z, abars[1]), abars[0], abars[1])]
    for i in range(1, len(abars) - 1):
        eps = network(visited[i], abars[i])
        up, down = ddim(visited[i], eps, abars[i], abars[i + 1]), ddim(visited[i], eps, abars[i], abars[i - 1])
        visited.append(up + (visited[i - 1] - down) / gamma)
    return visited


def paper_sample(network, z_above, z, abars, gamma):
    """z_{i-1} = gamma z_{i+1} + D(z_i: i -> i-1) - gamma D(z_i: i -> i+1)."""
    for i in range(len(abars) - 2, 0, -1):
        eps = network(z, abars[i])
        up, down = ddim(z, eps, abars[i], abars[i + 1]), ddim(z, eps, abars[i], abars[i - 1])
        z_above, z = z, gamma * z_above + down - gamma * up
    return z


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_inversion_equals_the_paper(sigma_table, toy64, network_of, randn, guidance, gamma):
    sigmas = make_schedule(sigma_table, 10).ascending_sigmas
    denoise, x = toy64(guidance), randn(1)
    pairs = invert_bdia(denoise, x, sigmas, gamma=gamma, path=PATH).pairs
    abars = 1 / (1 + sigmas**2)
    for state, abar, wanted in zip(pairs[:, 0], abars, paper_invert(network_of(denoise), x, abars, gamma), strict=True):
        torch.testing.assert_close(state * abar.sqrt(), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_sampling_equals_the_paper_under_another_network(sigma_table, toy64, network_of, randn, guidance, gamma):
    """An edit: the walk down with a prompt other than the inversion's, so it is not held by being its inverse."""
    schedule = make_schedule(sigma_table, 10)
    pair = invert_bdia(toy64(), randn(1), schedule.ascending_sigmas, path=PATH).pairs[-1]
    edit = toy64(guidance, phase=0.5)
    abars = 1 / (1 + schedule.ascending_sigmas**2)
    expected = paper_sample(network_of(edit), pair[0] * abars[-1].sqrt(), pair[1] * abars[-2].sqrt(), abars, gamma)
    torch.testing.assert_close(
        sample_bdia(edit, pair, schedule.sigmas, gamma=gamma, path=PATH), expected, rtol=1e-8, atol=1e-8
    )


def test_p11_gamma_of_a_half_diverges(sigma_table, toy64, randn):
    sigmas = make_schedule(sigma_table, 50).ascending_sigmas
    at_half, at_one = (
        invert_bdia(toy64(3.0), randn(2), sigmas, gamma=gamma, path=PATH).pairs[-1, 0] for gamma in (0.5, 1.0)
    )
    assert float(at_half.abs().max()) > 1e10 * float(at_one.abs().max())


@pytest.mark.parametrize("gamma", [0.0, 1.1, -0.5])
def test_gamma_out_of_range_is_refused(toy64, randn, gamma):
    sigmas = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=f"gamma is {gamma}; give more than 0 and at most 1"):
        invert_bdia(toy64(), randn(1), sigmas, gamma=gamma, path=PATH)
    with pytest.raises(ValueError, match="gamma is"):
        sample_bdia(toy64(), torch.stack([randn(1)] * 2), sigmas.flip(0), gamma=gamma, path=PATH)
