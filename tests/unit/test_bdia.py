"""BDIA: P11 of the parity tests, and the paper's formulas in its own variance-preserving notation."""

import pytest
import torch
from retrace_pack.inversion.bdia import invert_bdia, sample_bdia
from retrace_pack.samplers.schedule import make_schedule

SHAPE = (2, 4, 8, 8)


def randn(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def toy(guidance: float = 1.0, phase: float = 0.0):
    """A smooth, nonlinear denoiser in float64: two eps networks of the variance-preserving state under guidance."""

    def denoise(x, sigma):
        x, sigma = x.double(), sigma.double()
        x_vp = x / (1 + sigma**2).sqrt()
        uncond = torch.tanh(0.8 * x_vp + 0.2 * x_vp.roll(1, -1))
        cond = torch.tanh(x_vp + 0.3 * x_vp.roll(1, -2) + phase) * (0.9 + 0.05 * sigma.log())
        return x - sigma * (uncond + guidance * (cond - uncond))

    return denoise


def network_of(denoise):
    """The eps network of the papers, (x_vp, alpha bar) -> eps, seen through the float32 door that the methods use."""

    def network(x_vp, alpha_bar):
        sigma = ((1 - alpha_bar) / alpha_bar).sqrt()
        x = x_vp / alpha_bar.sqrt()
        return (x - denoise(x.float(), sigma.float())) / sigma

    return network


def alpha_bars(sigmas: torch.Tensor) -> torch.Tensor:
    return 1 / (1 + sigmas**2)


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
def test_inversion_equals_the_paper(sigma_table, guidance, gamma):
    sigmas = make_schedule(sigma_table, 10).ascending_sigmas
    denoise, x = toy(guidance), randn(1)
    pairs = invert_bdia(denoise, x, sigmas, gamma)
    assert pairs.shape == (11, 2, *SHAPE) and pairs.dtype == torch.float64
    abars = alpha_bars(sigmas)
    for state, abar, wanted in zip(pairs[:, 0], abars, paper_invert(network_of(denoise), x, abars, gamma), strict=True):
        torch.testing.assert_close(state * abar.sqrt(), wanted, rtol=1e-8, atol=1e-8)
    assert torch.equal(pairs[0, 0], pairs[0, 1]) and torch.equal(pairs[1:, 1], pairs[:-1, 0])


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_sampling_equals_the_paper_under_another_network(sigma_table, guidance, gamma):
    """An edit: the walk down with a prompt other than the inversion's, so it is not held by being its inverse."""
    schedule = make_schedule(sigma_table, 10)
    pair = invert_bdia(toy(), randn(1), schedule.ascending_sigmas)[-1]
    edit = toy(guidance, phase=0.5)
    abars = alpha_bars(schedule.ascending_sigmas)
    expected = paper_sample(network_of(edit), pair[0] * abars[-1].sqrt(), pair[1] * abars[-2].sqrt(), abars, gamma)
    torch.testing.assert_close(sample_bdia(edit, pair, schedule.sigmas, gamma), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("guidance", [1.0, 3.0, 7.5])
def test_p11_the_round_trip_is_the_identity_from_every_level(sigma_table, guidance):
    schedule = make_schedule(sigma_table, 50)
    denoise, x = toy(guidance), randn(2)
    pairs = invert_bdia(denoise, x, schedule.ascending_sigmas)
    for level in (1, 2, 23, 24, 50):
        back = sample_bdia(denoise, pairs[level], schedule.sigmas[50 - level :])
        assert float((back - x).square().mean()) < 1e-20


def test_p11_gamma_of_a_half_diverges(sigma_table):
    sigmas = make_schedule(sigma_table, 50).ascending_sigmas
    at_half, at_one = (invert_bdia(toy(3.0), randn(2), sigmas, gamma)[-1, 0] for gamma in (0.5, 1.0))
    assert float(at_half.abs().max()) > 1e10 * float(at_one.abs().max())


def test_it_may_begin_above_level_0(sigma_table):
    schedule = make_schedule(sigma_table, 10, terminal="first")
    pairs = invert_bdia(toy(3.0), randn(2), schedule.ascending_sigmas)
    torch.testing.assert_close(sample_bdia(toy(3.0), pairs[-1], schedule.sigmas), randn(2))


def test_a_batch_equals_its_rows(sigma_table):
    schedule = make_schedule(sigma_table, 6)
    pairs = invert_bdia(toy(3.0), randn(3), schedule.ascending_sigmas)
    images = sample_bdia(toy(7.5), pairs[-1], schedule.sigmas)
    for row in range(SHAPE[0]):
        alone = invert_bdia(toy(3.0), randn(3)[row : row + 1], schedule.ascending_sigmas)
        torch.testing.assert_close(alone, pairs[:, :, row : row + 1])
        torch.testing.assert_close(sample_bdia(toy(7.5), alone[-1], schedule.sigmas), images[row : row + 1])


def test_the_network_is_asked_once_a_step_in_float32_and_the_pair_saves_the_first_step_back(sigma_table):
    schedule = make_schedule(sigma_table, 4)
    ascending = schedule.ascending_sigmas
    asked, told = [], []

    def denoise(x, sigma):
        asked.append((x.dtype, float(sigma)))
        return 0.5 * x

    pairs = invert_bdia(denoise, randn(1).float(), ascending, callback=lambda *step: told.append(step))
    levels = [(torch.float32, float(sigma)) for sigma in ascending.float()]
    assert asked == [levels[1], *levels[1:-1]]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(ascending[1:].tolist()))
    asked.clear(), told.clear()
    sample_bdia(denoise, pairs[-1], schedule.sigmas, callback=lambda *step: told.append(step))
    assert asked == levels[-2:0:-1]
    assert [(step, float(sigma)) for step, _, sigma, _ in told] == list(enumerate(schedule.sigmas[:-1].tolist()))[1:]
    assert all(x.shape == denoised.shape == SHAPE for _, x, _, denoised in told)


def test_the_input_is_not_changed(sigma_table):
    schedule = make_schedule(sigma_table, 4)
    x = randn(1)
    pair = invert_bdia(toy(), x, schedule.ascending_sigmas)[-1]
    before = pair.clone()
    sample_bdia(toy(), pair, schedule.sigmas)
    assert torch.equal(x, randn(1)) and torch.equal(pair, before)


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [0.0], [0.0, 0.0, 1.0]])
def test_sigmas_that_do_not_ascend_are_refused(sigmas):
    with pytest.raises(ValueError, match="BDIA inversion.*do not ascend strictly from image to noise"):
        invert_bdia(toy(), randn(1), torch.tensor(sigmas))


@pytest.mark.parametrize("sigmas", [[0.0, 1.0, 2.0], [0.0], [1.0, 0.0, 0.0]])
def test_sigmas_that_do_not_descend_are_refused(sigmas):
    with pytest.raises(ValueError, match="BDIA sampling.*do not descend strictly from noise to image"):
        sample_bdia(toy(), randn(1).expand(2, *SHAPE), torch.tensor(sigmas))


def test_a_single_state_is_refused(sigma_table):
    with pytest.raises(ValueError, match=r"BDIA sampling: a pair of states.*not \[2, 4, 8, 8\]"):
        sample_bdia(toy(), randn(1), make_schedule(sigma_table, 4).sigmas)


@pytest.mark.parametrize("gamma", [0.0, 1.1, -0.5])
def test_gamma_out_of_range_is_refused(gamma):
    sigmas = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=f"gamma is {gamma}; give more than 0 and at most 1"):
        invert_bdia(toy(), randn(1), sigmas, gamma)
    with pytest.raises(ValueError, match="gamma is"):
        sample_bdia(toy(), randn(1).expand(2, *SHAPE), sigmas.flip(0), gamma)
