"""The accelerations of the fixed point: each against its formula, on maps with known solutions, and in DDIM inversion (P13)."""

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.inversion.fixed_point import ANDERSON_DEPTH, next_estimate
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

ACCELERATIONS = ["none", "two_point", "mean", "anderson"]
SHAPE = (2, 4, 8, 8)


def randn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape or SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def iterate(g, z, acceleration, evaluations):
    """(all z evaluated, all g(z), the last estimate), in the way `invert_ddim` iterates."""
    asked, answers = [], []
    for iteration in range(evaluations):
        asked.append(z)
        answers.append(g(z))
        z = next_estimate(asked, answers, acceleration, iteration == evaluations - 1)
    return asked, answers, z


def affine_map(seed: int, dimension: int, contraction: float):
    """(z -> A z + b on [1, dimension, 1, 1], its fixed point), with A symmetric and of spectral radius `contraction`."""
    basis, _ = torch.linalg.qr(randn(seed, dimension, dimension))
    spectrum = torch.linspace(-0.2 * contraction, contraction, dimension, dtype=torch.float64)
    matrix, offset = basis @ torch.diag(spectrum) @ basis.T, randn(seed + 1, dimension)
    fixed_point = torch.linalg.solve(torch.eye(dimension, dtype=torch.float64) - matrix, offset)
    return lambda z: (z.flatten(1) @ matrix.T + offset).view(z.shape), fixed_point.view(1, dimension, 1, 1)


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_the_first_answer_is_taken_as_it_is(acceleration):
    assert torch.equal(next_estimate([randn(1)], [randn(2)], acceleration, last=True), randn(2))


def test_two_point_and_mean_are_their_formulas():
    asked, answers = [randn(seed) for seed in (1, 2, 3)], [randn(seed) for seed in (4, 5, 6)]
    for last in (False, True):
        assert torch.equal(next_estimate(asked, answers, "none", last), answers[2])
        assert torch.equal(next_estimate(asked, answers, "two_point", last), (answers[2] + answers[1]) / 2)
    assert torch.equal(next_estimate(asked, answers, "mean", last=False), answers[2])
    torch.testing.assert_close(next_estimate(asked, answers, "mean", last=True), sum(answers) / 3)


@pytest.mark.parametrize("contraction", [0.5, 0.9])
def test_anderson_comes_nearer_than_plain_iterations(contraction):
    """The residual after the same number of evaluations, on a map that contracts and only just."""
    g, fixed_point = affine_map(1, 40, contraction)
    start = torch.zeros_like(fixed_point)
    for evaluations in (3, 5, 8):
        plain, anderson = (iterate(g, start, name, evaluations)[2] for name in ("none", "anderson"))
        assert float((g(anderson) - anderson).norm()) < 0.8 * float((g(plain) - plain).norm())
        assert float((anderson - fixed_point).norm()) < float((plain - fixed_point).norm())


@pytest.mark.parametrize("dimension", range(1, ANDERSON_DEPTH))
def test_anderson_is_exact_where_it_remembers_more_than_there_are_dimensions(dimension):
    """m residuals in fewer than m dimensions have an affine combination that is 0; even a map that expands is solved."""
    g, fixed_point = affine_map(2, dimension, 1.7)
    _, answers, anderson = iterate(g, torch.zeros_like(fixed_point), "anderson", dimension + 1)
    torch.testing.assert_close(anderson, fixed_point, rtol=1e-6, atol=1e-6)
    assert float((answers[-1] - fixed_point).norm()) > 1e-2


def test_anderson_is_the_affine_combination_of_least_residual():
    """Against least squares over the differences of residuals, the other way to write it (Walker and Ni 2011, eq. 2.2)."""
    asked, answers = ([randn(seed + k, 1, 4, 5, 5) for k in range(5)] for seed in (1, 11))
    kept = [answer.flatten() for answer in answers[-ANDERSON_DEPTH:]]
    residuals = [answer - z.flatten() for answer, z in zip(kept, asked[-ANDERSON_DEPTH:], strict=True)]
    steps = torch.stack([one - residuals[-1] for one in residuals[:-1]], dim=1)
    weights = torch.linalg.lstsq(steps, -residuals[-1][:, None]).solution[:, 0]
    expected = kept[-1] + sum(weight * (one - kept[-1]) for weight, one in zip(weights, kept[:-1], strict=True))
    ours = next_estimate(asked, answers, "anderson", last=False)
    torch.testing.assert_close(ours.flatten(), expected, rtol=1e-7, atol=1e-7)


def test_anderson_stays_at_a_fixed_point_that_is_reached():
    """Residuals of 0 tell no direction, and must not become NaN."""
    z = randn(1)
    assert torch.allclose(next_estimate([z, z, z], [z, z, z], "anderson", last=True), z)


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_the_rows_of_a_batch_do_not_meddle_with_each_other(acceleration):
    """A row that converges at once beside one that hardly does."""
    g_fast, first = affine_map(1, 12, 0.1)
    g_slow, second = affine_map(3, 12, 0.95)
    start = torch.zeros(2, 12, 1, 1, dtype=torch.float64)
    together = iterate(lambda z: torch.cat([g_fast(z[:1]), g_slow(z[1:])]), start, acceleration, 5)[2]
    alone = torch.cat([iterate(g, torch.zeros_like(first), acceleration, 5)[2] for g in (g_fast, g_slow)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)
    assert float((together[1:] - second).norm()) > 10 * float((together[:1] - first).norm())


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_the_dtype_stays_and_nothing_is_changed_in_place(acceleration):
    asked, answers = [randn(1).float(), randn(2).float()], [randn(3).float(), randn(4).float()]
    assert next_estimate(asked, answers, acceleration, last=True).dtype == torch.float32
    for seed, tensor in enumerate([*asked, *answers], start=1):
        assert torch.equal(tensor, randn(seed).float())


def denoise(x, sigma):
    x_vp = x / (1 + sigma**2).sqrt()
    return x - sigma * torch.tanh(x_vp + 0.3 * x_vp.roll(1, -1)) * (0.5 + 0.1 * sigma.log1p())


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_p13_iterations_bring_the_round_trip_home(sigma_table, acceleration):
    schedule = make_schedule(sigma_table, 12)
    errors, residuals = [], []
    for iterations in (0, 1, 3, 6):
        inversion = invert_ddim(
            denoise,
            randn(4),
            schedule.ascending_sigmas,
            fixed_point_iterations=iterations,
            acceleration=acceleration,
            path=PATH,
        )
        errors.append(float((sample_ddim(denoise, inversion.states[-1], schedule.sigmas) - randn(4)).square().mean()))
        residuals.append(float(inversion.residuals.max()))
    assert all(later < earlier for earlier, later in zip(errors, errors[1:], strict=False))
    assert all(later < earlier for earlier, later in zip(residuals, residuals[1:], strict=False))
    # The mean remembers its first, worst answers for ever.
    assert errors[-1] < errors[0] * (1e-2 if acceleration == "mean" else 1e-4)


def test_p13_a_residual_is_the_last_change_in_the_papers_scale(sigma_table):
    """The root mean square of z_k - z_{k-1} with z = sqrt(alpha bar) x: without iterations of one step of the literal loop."""
    sigmas = make_schedule(sigma_table, 12).ascending_sigmas
    scale = (1 + sigmas**2).rsqrt()
    x = randn(4)
    for at in (0, 1, 6, 11):
        pair = sigmas[at : at + 2]
        runs = [invert_ddim(denoise, x, pair, path=PATH, fixed_point_iterations=iterations) for iterations in range(3)]
        z = [scale[at] * x, *(scale[at + 1] * run.states[1] for run in runs)]
        changes = [(later - earlier).square().mean().sqrt() for earlier, later in zip(z, z[1:], strict=False)]
        residuals = [run.residuals[0] for run in runs]
        torch.testing.assert_close(torch.stack(residuals), torch.stack(changes), rtol=1e-9, atol=1e-12)


def test_p13_the_mean_is_that_of_all_iterations(sigma_table):
    sigmas = make_schedule(sigma_table, 12).ascending_sigmas[3:5]
    plain = [invert_ddim(denoise, randn(4), sigmas, path=PATH, fixed_point_iterations=n).states[1] for n in (1, 2, 3)]
    mean = invert_ddim(denoise, randn(4), sigmas, path=PATH, fixed_point_iterations=3, acceleration="mean").states[1]
    torch.testing.assert_close(mean, torch.stack(plain).mean(0), rtol=1e-12, atol=1e-12)


def test_p13_anderson_brings_it_nearest_for_the_same_number_of_evaluations(sigma_table):
    schedule = make_schedule(sigma_table, 12)
    errors, calls = {}, []

    def counted(x, sigma):
        calls[-1] += 1
        return denoise(x, sigma)

    for acceleration in ACCELERATIONS:
        calls.append(0)
        states = invert_ddim(
            counted, randn(4), schedule.ascending_sigmas, fixed_point_iterations=4, acceleration=acceleration, path=PATH
        ).states
        errors[acceleration] = float((sample_ddim(denoise, states[-1], schedule.sigmas) - randn(4)).square().mean())
    assert set(calls) == {12 * 5}
    assert min(errors, key=errors.get) == "anderson"


def test_p13_no_acceleration_is_the_plain_iteration_to_the_last_bit(sigma_table):
    """Each question is the answer to the one before: the loop as it was before accelerations were."""
    sigmas = make_schedule(sigma_table, 12).ascending_sigmas
    x, states = randn(4), [randn(4)]
    for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
        asked = x * ((1 + sigma_next**2) / (1 + sigma**2)).sqrt()
        z = x + (sigma_next - sigma) * ((asked - denoise(asked, sigma_next)) / sigma_next)
        ratio, abar = sigma / sigma_next, 1 / (1 + sigma_next**2)
        for _ in range(3):
            z = (x + (1 - ratio) * (abar * z - denoise(z, sigma_next))) / (ratio + abar * (1 - ratio))
        x = z
        states.append(z)
    plain = invert_ddim(denoise, randn(4), sigmas, fixed_point_iterations=3, path=PATH)
    named = invert_ddim(denoise, randn(4), sigmas, fixed_point_iterations=3, acceleration="none", path=PATH)
    assert torch.equal(plain.states, torch.stack(states))
    assert torch.equal(named.states, plain.states) and torch.equal(named.residuals, plain.residuals)


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_without_iterations_there_is_nothing_to_accelerate(sigma_table, acceleration):
    sigmas = make_schedule(sigma_table, 12).ascending_sigmas
    accelerated = invert_ddim(denoise, randn(4), sigmas, acceleration=acceleration, path=PATH)
    assert torch.equal(accelerated.states, invert_ddim(denoise, randn(4), sigmas, path=PATH).states)
