"""Edit-friendly DDPM: P12 of the parity tests, the paper's formulas in its own notation, and diffusers' stochastic steps."""

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from retrace_pack.inversion.edit_friendly import invert_edit_friendly, sample_edit_friendly
from retrace_pack.samplers.noise import noise_source
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

SHAPE = (2, 4, 8, 8)
SOLVERS = [(1, 1.0), (1, 0.4), (2, 1.0)]


def noise():
    return noise_source(SHAPE, (7,))


def network_of(denoise):
    """The eps network of the papers, (x_vp, alpha bar) -> eps."""

    def network(x_vp, alpha_bar):
        sigma, x = ((1 - alpha_bar) / alpha_bar).sqrt(), x_vp / alpha_bar.sqrt()
        return (x - denoise(x, sigma)) / sigma

    return network


def paper_invert(network, clean, abars, eta):
    """Independent x_t, then z_t = (x_{t-1} - mu(x_t)) / sigma_t from the noise end, x_{t-1} corrected; z_1 is zeroed."""
    draw = noise()
    x = [clean] + [abar.sqrt() * clean + (1 - abar).sqrt() * draw().double() for abar in abars[1:]]
    z = [torch.zeros_like(clean) for _ in abars[1:]]
    scales = []
    for t in range(len(abars) - 1, 0, -1):
        abar, abar_prev = abars[t], abars[t - 1]
        sigma_t = eta * ((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev)).sqrt()
        eps = network(x[t], abar)
        predicted = (x[t] - (1 - abar).sqrt() * eps) / abar.sqrt()
        mu = abar_prev.sqrt() * predicted + (1 - abar_prev - sigma_t**2).sqrt() * eps
        if t > 1:
            z[t - 1] = (x[t - 1] - mu) / sigma_t
            x[t - 1] = mu + sigma_t * z[t - 1]
        scales.insert(0, sigma_t)
    return x, z, scales


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("eta", [1.0, 0.4])
def test_inversion_equals_the_paper(sigma_table, toy, randn, guidance, eta):
    sigmas = make_schedule(sigma_table, 10).ascending_sigmas
    abars = 1 / (1 + sigmas**2)
    denoise, clean = toy(guidance), randn(1)
    result = invert_edit_friendly(denoise, clean, sigmas, noise=noise(), eta=eta, path=PATH)
    assert result.states.shape == (11, *SHAPE) and result.noise_maps.shape == (10, *SHAPE)
    states, z, scales = paper_invert(network_of(denoise), clean, abars, eta)
    for state, abar, wanted in zip(result.states, abars, states, strict=True):
        torch.testing.assert_close(state * abar.sqrt(), wanted, rtol=1e-9, atol=1e-9)
    for level in range(1, 10):
        added = result.noise_maps[level] * abars[level].sqrt()
        torch.testing.assert_close(added, scales[level] * z[level], rtol=1e-9, atol=1e-9)


def test_every_level_is_noised_independently(sigma_table, toy, randn):
    sigmas = make_schedule(sigma_table, 10).ascending_sigmas
    draw = noise()
    states = invert_edit_friendly(toy(), randn(1), sigmas, noise=noise(), path=PATH).states
    for state, sigma in zip(states[1:], sigmas[1:], strict=True):
        torch.testing.assert_close(state, randn(1) + sigma * draw().double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize(("order", "eta"), SOLVERS)
def test_p12_sampling_with_the_maps_gives_the_image_and_every_state(
    sigma_table, toy, randn, order, eta, guidance, dtype
):
    """To the last bit, last step included: sampling makes the very sums of the inversion."""
    schedule = make_schedule(sigma_table.to(dtype), 20)
    denoise, x = toy(guidance), randn(2).to(dtype)
    result = invert_edit_friendly(denoise, x, schedule.ascending_sigmas, noise=noise(), order=order, eta=eta, path=PATH)
    visited = []
    back = sample_edit_friendly(
        denoise,
        result.states[-1],
        schedule.sigmas,
        noise_maps=result.noise_maps,
        order=order,
        eta=eta,
        callback=lambda step, state, sigma, denoised: visited.append(state),
        path=PATH,
    )
    assert result.states.dtype == result.noise_maps.dtype == dtype
    assert torch.equal(torch.stack([*visited, back]), result.states.flip(0))
    torch.testing.assert_close(back, x, rtol=1e-6, atol=1e-5 if dtype == torch.float32 else 1e-13)


@pytest.mark.parametrize(("order", "eta"), SOLVERS)
@pytest.mark.parametrize("level", [1, 2, 11, 19])
def test_p12_a_start_in_the_middle_is_exact(sigma_table, toy, randn, order, eta, level):
    schedule = make_schedule(sigma_table, 20)
    sigmas, denoise = schedule.ascending_sigmas, toy(7.5)
    result = invert_edit_friendly(denoise, randn(2), sigmas, noise=noise(), order=order, eta=eta, path=PATH)
    start = (result.states[level], schedule.sigmas[20 - level :])
    rest = {"path": PATH, "noise_maps": result.noise_maps[:level], "order": order, "eta": eta}
    previous = (result.states[level + 1], sigmas[level + 1])
    assert torch.equal(sample_edit_friendly(denoise, *start, previous=previous, **rest), result.states[0])
    if order == 2 and level > 1:
        assert float((sample_edit_friendly(denoise, *start, **rest) - randn(2)).abs().max()) > 1e-4


@pytest.mark.parametrize("order", [1, 2])
def test_a_walk_that_is_kept_to_the_states_forgets_rounding_and_nothing_else(sigma_table, toy, randn, order):
    schedule = make_schedule(sigma_table, 20)
    result = invert_edit_friendly(toy(7.5), randn(2), schedule.ascending_sigmas, noise=noise(), order=order, path=PATH)
    near = result.states[-1] + 1e-6 * randn(2)
    rest = {"path": PATH, "noise_maps": result.noise_maps, "order": order}
    kept = sample_edit_friendly(toy(7.5), near, schedule.sigmas, states=result.states[:-1], **rest)
    assert torch.equal(kept, result.states[0])
    assert not torch.equal(sample_edit_friendly(toy(7.5), near, schedule.sigmas, **rest), result.states[0])
    edited = (
        sample_edit_friendly(toy(1.0), near, schedule.sigmas, states=states, **rest)
        for states in (result.states[:-1], None)
    )
    torch.testing.assert_close(*edited)


def test_p12_the_last_map_carries_what_the_published_code_zeroes(sigma_table, toy, randn):
    """To sigma 0 the step adds no noise; without the kept difference the image is what the network last predicted."""
    schedule = make_schedule(sigma_table, 20)
    result = invert_edit_friendly(toy(7.5), randn(2), schedule.ascending_sigmas, noise=noise(), path=PATH)
    maps = torch.cat([torch.zeros_like(result.noise_maps[:1]), result.noise_maps[1:]])
    zeroed = sample_edit_friendly(toy(7.5), result.states[-1], schedule.sigmas, noise_maps=maps, path=PATH)
    torch.testing.assert_close(zeroed, toy(7.5)(result.states[1], schedule.ascending_sigmas[1]))
    assert float((zeroed - randn(2)).abs().max()) > 1e-2


@pytest.mark.parametrize("eta", [1.0, 0.4])
def test_order_1_samples_as_diffusers_ddim(sigma_table, sd_scheduler, toy, randn, eta):
    """Another network and noise of our own choice, with the noise diffusers would scale by sigma_t itself."""
    schedule = make_schedule(sigma_table, 10, terminal="first")
    reference = sd_scheduler()
    reference.set_timesteps(10)
    sigmas, network = schedule.sigmas, network_of(toy(3.0))
    x = randn(1)
    up = eta * sigmas[1:] * (1 - (sigmas[1:] / sigmas[:-1]) ** 2).sqrt()
    maps = torch.stack([up[step] * randn(10 + step) for step in reversed(range(10))])
    ours = sample_edit_friendly(toy(3.0), x * (1 + sigmas[0] ** 2).sqrt(), sigmas, noise_maps=maps, eta=eta, path=PATH)
    for step, t in enumerate(reference.timesteps):
        output = network(x, 1 / (1 + sigmas[step] ** 2))
        x = reference.step(output, int(t), x, eta=eta, variance_noise=randn(10 + step)).prev_sample
    torch.testing.assert_close(ours / (1 + sigmas[-1] ** 2).sqrt(), x, rtol=1e-4, atol=1e-4)


def test_order_2_samples_as_diffusers_sde_dpmsolver(sigma_table, toy, randn):
    """SDE-DPM-Solver++(2M) with given noise: first order first and last, the extrapolation between."""
    reference = DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        timestep_spacing="leading",
        steps_offset=1,
    )
    reference.set_timesteps(16)
    sigmas = torch.cat([sigma_table[reference.timesteps], sigma_table.new_zeros(1)])
    network, x = network_of(toy(3.0)), randn(1)
    up = sigmas[1:] * (1 - (sigmas[1:] / sigmas[:-1]) ** 2).sqrt()
    maps = torch.stack([up[step] * randn(10 + step) for step in reversed(range(16))])
    ours = sample_edit_friendly(toy(3.0), x * (1 + sigmas[0] ** 2).sqrt(), sigmas, noise_maps=maps, order=2, path=PATH)
    for step, t in enumerate(reference.timesteps):
        output = network(x, 1 / (1 + sigmas[step] ** 2))
        x = reference.step(output, t, x, variance_noise=randn(10 + step)).prev_sample
    torch.testing.assert_close(ours, x.double(), rtol=1e-4, atol=1e-4)


def test_order_2_is_the_sum_of_the_paper(sigma_table, toy, randn):
    """One step written out: x' = r^2 x + (1 - r^2) D, D extrapolated over log-levels; order 1 is r^2 x + (1 - r^2) D0."""
    before, sigma, after = sigma_table[[900, 700, 400]]
    x_before, x, r2 = randn(1), randn(2), (after / sigma) ** 2
    d0, d0_before = toy()(x, sigma), toy()(x_before, before)
    h, h_before = (sigma / after).log(), (before / sigma).log()
    walk = (x, torch.stack([sigma, after]))
    rest = {"path": PATH, "noise_maps": torch.zeros(1, *SHAPE, dtype=torch.float64), "previous": (x_before, before)}
    extrapolated = d0 + h / (2 * h_before) * (d0 - d0_before)
    ours = sample_edit_friendly(toy(), *walk, order=2, **rest)
    torch.testing.assert_close(ours, r2 * x + (1 - r2) * extrapolated, rtol=1e-10, atol=1e-10)
    ours = sample_edit_friendly(toy(), *walk, order=1, **rest)
    torch.testing.assert_close(ours, r2 * x + (1 - r2) * d0, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_a_batch_equals_its_rows(sigma_table, toy, randn, order):
    schedule = make_schedule(sigma_table, 6)
    result = invert_edit_friendly(
        toy(3.0),
        randn(3),
        schedule.ascending_sigmas,
        noise=noise_source(SHAPE, range(SHAPE[0])),
        order=order,
        path=PATH,
    )
    images = sample_edit_friendly(
        toy(7.5), result.states[-1], schedule.sigmas, noise_maps=result.noise_maps, order=order, path=PATH
    )
    for row in range(SHAPE[0]):
        own = noise_source((1, *SHAPE[1:]), (row,))
        alone = invert_edit_friendly(
            toy(3.0), randn(3)[row : row + 1], schedule.ascending_sigmas, noise=own, order=order, path=PATH
        )
        torch.testing.assert_close(alone.states, result.states[:, row : row + 1])
        torch.testing.assert_close(alone.noise_maps, result.noise_maps[:, row : row + 1])
        image = sample_edit_friendly(
            toy(7.5), alone.states[-1], schedule.sigmas, noise_maps=alone.noise_maps, order=order, path=PATH
        )
        torch.testing.assert_close(image, images[row : row + 1])


def test_one_call_a_step_from_the_noise_end_and_one_more_for_previous(sigma_table, randn):
    schedule = make_schedule(sigma_table, 4)
    levels = schedule.sigmas.tolist()
    asked, told = [], []

    def denoise(x, sigma):
        asked.append(float(sigma))
        return 0.5 * x

    def tell(step, x, sigma, denoised):
        assert torch.equal(denoised, 0.5 * x)
        told.append((step, float(sigma)))

    result = invert_edit_friendly(
        denoise, randn(1), schedule.ascending_sigmas, noise=noise(), order=2, callback=tell, path=PATH
    )
    assert asked == levels[:-1] and told == list(enumerate(levels[:-1]))
    for order, calls in ((1, levels[1:-1]), (2, levels[:-1])):
        asked.clear(), told.clear()
        rest = {"path": PATH, "noise_maps": result.noise_maps[:3], "previous": (result.states[4], schedule.sigmas[0])}
        sample_edit_friendly(denoise, result.states[3], schedule.sigmas[1:], order=order, callback=tell, **rest)
        assert asked == calls and told == list(enumerate(levels[1:-1]))


def test_the_input_is_not_changed(sigma_table, toy, randn):
    schedule = make_schedule(sigma_table, 4)
    x = randn(1)
    result = invert_edit_friendly(toy(), x, schedule.ascending_sigmas, noise=noise(), path=PATH)
    states, maps = result.states.clone(), result.noise_maps.clone()
    sample_edit_friendly(toy(3.0), result.states[-1], schedule.sigmas, noise_maps=result.noise_maps, path=PATH)
    assert torch.equal(x, randn(1)) and torch.equal(states, result.states) and torch.equal(maps, result.noise_maps)


@pytest.mark.parametrize(
    ("order", "eta", "message"),
    [
        (3, 1.0, "order is 3; give 1"),
        (1, 0.0, "eta is 0.0, but the method requires noise"),
        (1, 1.5, "eta is 1.5.*at most 1"),
        (2, 0.5, "order 2 is defined for eta 1 only, not 0.5"),
    ],
)
def test_an_unknown_solver_is_refused(toy, randn, order, eta, message):
    sigmas = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match=message):
        invert_edit_friendly(toy(), randn(1), sigmas, noise=noise(), order=order, eta=eta, path=PATH)
    with pytest.raises(ValueError, match=message):
        sample_edit_friendly(
            toy(), randn(1), sigmas.flip(0), noise_maps=randn(1)[None], order=order, eta=eta, path=PATH
        )


@pytest.mark.parametrize("sigmas", [[2.0, 1.0, 0.0], [0.0], [0.0, 0.0, 1.0]])
def test_sigmas_that_do_not_ascend_are_refused(toy, randn, sigmas):
    with pytest.raises(ValueError, match="Edit-friendly inversion.*do not ascend strictly from image to noise"):
        invert_edit_friendly(toy(), randn(1), torch.tensor(sigmas), noise=noise(), path=PATH)


def test_what_does_not_fit_the_steps_is_refused(toy, randn):
    sigmas, maps = torch.tensor([2.0, 1.0, 0.0]), torch.zeros(3, *SHAPE)
    with pytest.raises(ValueError, match="3 noise maps were given for 2 steps"):
        sample_edit_friendly(toy(), randn(1), sigmas, noise_maps=maps, path=PATH)
    with pytest.raises(ValueError, match="do not descend strictly from noise to image"):
        sample_edit_friendly(toy(), randn(1), sigmas.flip(0), noise_maps=maps[:2], path=PATH)
    with pytest.raises(ValueError, match="previous level 2.0000 does not lie above the first, 2.0000"):
        sample_edit_friendly(
            toy(), randn(1), sigmas, noise_maps=maps[:2], order=2, previous=(randn(1), sigmas[0]), path=PATH
        )
