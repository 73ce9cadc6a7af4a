"""P19: the course notebook on DDIM inversion, transcribed literally, and how its states correspond to ours.

Its quirks (skipped ends, one level off when editing) are not copied; the test shows which of our states matches which.
"""

import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.prediction import denoised_from_output
from retrace_pack.samplers.schedule import make_schedule

PATH = VarianceExploding()

STEPS = 50
STRIDE = 1000 // STEPS


def network(x_vp: torch.Tensor, timestep: int) -> torch.Tensor:
    return torch.tanh(0.8 * x_vp + 0.2 * x_vp.roll(1, -2)) * (0.4 + timestep / 1500)


def denoiser(table: torch.Tensor):
    def denoise(x, sigma):
        timestep = int((table - sigma).abs().argmin())
        return denoised_from_output(network(PATH.to_unit(x, sigma), timestep), x, sigma, "epsilon")

    return denoise


def notebook_invert(alphas: torch.Tensor, x: torch.Tensor) -> list[torch.Tensor]:
    """The notebook's loop: ascending timesteps, without the first and last transition; returns only what it appends."""
    timesteps = [1 + STRIDE * index for index in range(STEPS)]
    kept = []
    for index in range(1, STEPS - 1):
        current_t, next_t = max(0, timesteps[index] - STRIDE), timesteps[index]
        eps = network(x, timesteps[index])
        abar, abar_next = alphas[current_t], alphas[next_t]
        x = (x - (1 - abar).sqrt() * eps) * (abar_next.sqrt() / abar.sqrt()) + (1 - abar_next).sqrt() * eps
        kept.append(x)
    return kept


def notebook_sample(alphas: torch.Tensor, x: torch.Tensor, start_step: int) -> torch.Tensor:
    timesteps = [1 + STRIDE * index for index in reversed(range(STEPS))]
    for t in timesteps[start_step:]:
        previous_t = max(1, t - STRIDE)
        eps = network(x, t)
        clean = (x - (1 - alphas[t]).sqrt() * eps) / alphas[t].sqrt()
        x = alphas[previous_t].sqrt() * clean + (1 - alphas[previous_t]).sqrt() * eps
    return x


def test_p19_inversion_equals_the_notebook_level_by_level(sigma_table):
    alphas = 1 / (1 + sigma_table**2)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = notebook_invert(alphas, x)
    assert len(theirs) == STEPS - 2
    # Its input is read as the state of timestep 1, and its last state is that of timestep 961.
    sigmas = make_schedule(sigma_table, STEPS).ascending_sigmas[1:-1]
    ours = invert_ddim(denoiser(sigma_table), PATH.from_unit(x, sigmas[0]), sigmas, path=PATH).states
    for index, wanted in enumerate(theirs):
        state = PATH.to_unit(ours[index + 1], sigmas[index + 1])
        torch.testing.assert_close(state, wanted, rtol=1e-9, atol=1e-9)


def test_p19_sampling_equals_the_notebook_which_stops_at_timestep_one(sigma_table):
    alphas = 1 / (1 + sigma_table**2)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for start_step in (0, 10, 30):
        sigmas = make_schedule(sigma_table, STEPS).sigmas[start_step:-1]
        # Its last step, at timestep 1, leads to timestep 1 again: the state stays where it is.
        ours = sample_ddim(denoiser(sigma_table), PATH.from_unit(x, sigmas[0]), sigmas)
        wanted = notebook_sample(alphas, x, start_step)
        torch.testing.assert_close(PATH.to_unit(ours, sigmas[-1]), wanted, rtol=1e-9, atol=1e-9)


def test_p19_its_edit_starts_one_level_too_clean(sigma_table):
    """intermediate[-(start_step + 1)] for start 10 is the state of timestep 761, sampled as if it were that of 781."""
    ascending = make_schedule(sigma_table, STEPS).timesteps[::-1]
    kept_levels = [ascending[index] for index in range(1, STEPS - 1)]
    expected_by_sampler = make_schedule(sigma_table, STEPS).timesteps[10]
    assert kept_levels[-(10 + 1)] == 761
    assert expected_by_sampler == 781
