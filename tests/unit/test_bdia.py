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
    assert pairs.shape == (11, 2, *x.shape) and pairs.dtype == torch.float64
    abars = 1 / (1 + sigmas**2)
    for state, abar, wanted in zip(pairs[:, 0], abars, paper_invert(network_of(denoise), x, abars, gamma), strict=True):
        torch.testing.assert_close(state * abar.sqrt(), wanted, rtol=1e-8, atol=1e-8)
    assert torch.equal(pairs[0, 0], pairs[0, 1]) and torch.equal(pairs[1:, 1], pairs[:-1, 0])


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


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
def test_p11_the_round_trip_is_the_identity_from_every_level(sigma_table, toy64, randn, guidance):
    schedule = make_schedule(sigma_table, 50)
    denoise, x = toy64(guidance), randn(2)
    pairs = invert_bdia(denoise, x, schedule.ascending_sigmas, path=PATH).pairs
    for level in (1, 2, 23, 24, 50):
        back = sample_bdia(denoise, pairs[level], schedule.sigmas[50 - level :], path=PATH)
        assert float((back - x).square().mean()) < 1e-20


def test_p11_gamma_of_a_half_diverges(sigma_table, toy64, randn):
    sigmas = make_schedule(sigma_table, 50).ascending_sigmas
    at_half, at_one = (
        invert_bdia(toy64(3.0), randn(2), sigmas, gamma=gamma, path=PATH).pairs[-1, 0] for gamma in (0.5, 1.0)
    )
    assert float(at_half.abs().max()) > 1e10 * float(at_one.abs().max())


def test_it_may_begin_above_level_0(sigma_table, toy64, randn):
    schedule = make_schedule(sigma_table, 10, terminal="first")
    pairs = invert_bdia(toy64(3.0), randn(2), schedule.ascending_sigmas, path=PATH).pairs
    torch.testing.assert_close(sample_bdia(toy64(3.0), pairs[-1], schedule.sigmas, path=PATH), randn(2))


def test_a_batch_equals_its_rows(sigma_table, toy64, randn):
    schedule = make_schedule(sigma_table, 6)
    pairs = invert_bdia(toy64(3.0), randn(3), schedule.ascending_sigmas, path=PATH).pairs
    images = sample_bdia(toy64(7.5), pairs[-1], schedule.sigmas, path=PATH)
    for row in range(len(images)):
        alone = invert_bdia(toy64(3.0), randn(3)[row : row + 1], schedule.ascending_sigmas, path=PATH).pairs
        torch.testing.assert_close(alone, pairs[:, :, row : row + 1])
        torch.testing.assert_close(
            sample_bdia(toy64(7.5), alone[-1], schedule.sigmas, path=PATH), images[row : row + 1]
        )


def test_the_network_is_asked_once_a_step_in_float32_and_the_pair_saves_the_first_step_back(sigma_table, randn):
    schedule = make_schedule(sigma_table, 4)
    ascending = schedule.ascending_sigmas
    asked, told = [], []

    def denoise(x, sigma):
        asked.append((x.dtype, float(sigma)))
        return 0.5 * x

    pairs = invert_bdia(denoise, randn(1).float(), ascending, callback=lambda *step: told.append(step), path=PATH).pairs
    levels = [(torch.float32, float(sigma)) for sigma in ascending.float()]
    assert asked == [levels[1], *levels[1:-1]]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(ascending[1:].tolist()))
    asked.clear(), told.clear()
    sample_bdia(denoise, pairs[-1], schedule.sigmas, callback=lambda *step: told.append(step), path=PATH)
    assert asked == levels[-2:0:-1]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(schedule.sigmas[:-1].tolist()))[1:]
    assert all(x.shape == denoised.shape == randn(1).shape for _, x, _, denoised in told)


def test_the_input_is_not_changed(sigma_table, toy64, randn):
    schedule = make_schedule(sigma_table, 4)
    x = randn(1)
    pair = invert_bdia(toy64(), x, schedule.ascending_sigmas, path=PATH).pairs[-1]
    before = pair.clone()
    sample_bdia(toy64(), pair, schedule.sigmas, path=PATH)
    assert torch.equal(x, randn(1)) and torch.equal(pair, before)


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [0.0], [0.0, 0.0, 1.0]])
def test_sigmas_that_do_not_ascend_are_refused(toy64, randn, sigmas):
    with pytest.raises(ValueError, match="BDIA inversion.*do not ascend strictly from image to noise"):
        invert_bdia(toy64(), randn(1), torch.tensor(sigmas), path=PATH)


@pytest.mark.parametrize("sigmas", [[0.0, 1.0, 2.0], [0.0], [1.0, 0.0, 0.0]])
def test_sigmas_that_do_not_descend_are_refused(toy64, randn, sigmas):
    with pytest.raises(ValueError, match="BDIA sampling.*do not descend strictly from noise to image"):
        sample_bdia(toy64(), torch.stack([randn(1)] * 2), torch.tensor(sigmas), path=PATH)


def test_a_single_state_is_refused(sigma_table, toy64, randn):
    with pytest.raises(ValueError, match=r"BDIA sampling: a pair of states.*not \[2, 4, 8, 8\]"):
        sample_bdia(toy64(), randn(1), make_schedule(sigma_table, 4).sigmas, path=PATH)


@pytest.mark.parametrize("gamma", [0.0, 1.1, -0.5])
def test_gamma_out_of_range_is_refused(toy64, randn, gamma):
    sigmas = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=f"gamma is {gamma}; give more than 0 and at most 1"):
        invert_bdia(toy64(), randn(1), sigmas, gamma=gamma, path=PATH)
    with pytest.raises(ValueError, match="gamma is"):
        sample_bdia(toy64(), torch.stack([randn(1)] * 2), sigmas.flip(0), gamma=gamma, path=PATH)
