"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140), and the second-order variant of
LEDITS++ (Brack et al. 2023, arXiv 2311.16711).

The image is noised independently at every level. For each pair of successive states, the noise map is what a stochastic step
must add to its deterministic part to get from one to the other. Sampling with these maps reconstructs the image, whatever
the guidance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.noise import NoiseSource
from ..samplers.path import Path
from .exact import exact_levels
from .result import Inversion
from .snap import snap_to_trajectory


@torch.no_grad()
def invert_edit_friendly(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    noise: NoiseSource,
    order: int = 1,
    eta: float = 1.0,
    callback: StepCallback | None = None,
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N model calls, from the noise end down.

    The states are x noised to each level with independent noise, drawn from level 1 up. The step from state i+1 has the mean mu;
    map_i = x_i - mu, and x_i is set to mu + map_i, the same sum that sampling computes, so rounding does not accumulate.

    The last step's map is kept too. The published code stores z, so it has to zero the map of a step to sigma 0, where sigma_t is
    0; that leaves a small error. In units of the state, the difference is well defined there.

    Args:
        noise: draws the noise of each level.
        order: 1 is DDIM's step with `eta`; 2 is SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), which requires eta 1.
            Its first step, and a step to sigma 0, are of first order.
        eta: above 0, at most 1 (DDPM's variance).
        callback: called for each step from the noise end, (step, x and sigma before the step, x0).

    Returns:
        States and maps with the dtype and device of x.

    Raises:
        ValueError: if the sigmas do not ascend, or for an unsupported order or eta.
    """
    _require_solver(order, eta)
    exact_levels("Edit-friendly inversion", sigmas, "ascend")
    states = [x, *(path.add_noise(x, noise().to(x), sigma) for sigma in sigmas[1:])]
    maps, previous = [], None
    for level in reversed(range(len(sigmas) - 1)):
        sigma, sigma_next = sigmas[level + 1], sigmas[level]
        denoised = denoise(states[level + 1], sigma)
        if callback is not None:
            callback(len(maps), states[level + 1], sigma, denoised)
        mean = _mean(states[level + 1], denoised, sigma, sigma_next, path, eta, previous)
        maps.append(states[level] - mean)
        states[level] = mean + maps[-1]
        previous = (denoised, sigma) if order == 2 else None
    return Inversion(torch.stack(states), noise_maps=torch.stack(maps[::-1]))


@torch.no_grad()
def sample_edit_friendly(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    noise_maps: Tensor,
    order: int = 1,
    eta: float = 1.0,
    previous: tuple[Tensor, Tensor] | None = None,
    states: Tensor | None = None,
    callback: StepCallback | None = None,
) -> Tensor:
    """Take x [B, C, H, W] down the levels sigmas [n+1] with stored noise, with n model calls; returns x at the last level.

    Args:
        noise_maps: [n, B, C, H, W] from `invert_edit_friendly`, in the same order: noise_maps[k] belongs to the step that ends
            at the k-th level from the image. To start in the middle, pass the first n.
        order, eta: those of the inversion.
        previous: (state, sigma) one level above the start. Order 2 evaluates the network there once more, for the x0 that its
            first step extrapolates from; this makes a start in the middle exact. Without it, that step is of first order, as it
            is at the noise end. Order 1 ignores it.
        states: [n, 1 or B, C, H, W], the inversion's own, in the order of the maps. Rows of x that differ from them only by
            rounding are reset to them, see `inversion.snap`.

    Raises:
        ValueError: if the sigmas do not descend, the number of maps is not n, `previous` is not above the start, or for an
            unsupported order or eta.
    """
    _require_solver(order, eta)
    exact_levels("Edit-friendly sampling", sigmas, "descend")
    if len(noise_maps) != len(sigmas) - 1:
        raise ValueError(
            f"Edit-friendly sampling: {len(noise_maps)} noise maps were given for {len(sigmas) - 1} steps; "
            "give the maps of exactly these steps."
        )
    if previous is not None and not previous[1] > sigmas[0]:
        raise ValueError(
            f"Edit-friendly sampling: the previous level {float(previous[1]):.4f} does not lie above the first, "
            f"{float(sigmas[0]):.4f}; give the state one level closer to the noise."
        )
    earlier = (denoise(*previous), previous[1]) if order == 2 and previous is not None else None
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        denoised = denoise(x, sigma)
        if callback is not None:
            callback(step, x, sigma, denoised)
        x = _mean(x, denoised, sigma, sigma_next, path, eta, earlier) + noise_maps[-1 - step].to(x)
        if states is not None:
            x = snap_to_trajectory(x, states[-1 - step])
        earlier = (denoised, sigma) if order == 2 else None
    return x


def _mean(
    x: Tensor,
    denoised: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    path: Path,
    eta: float,
    previous: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """The deterministic part of a stochastic step: DDIM's without its noise; order 2 replaces x0 by an extrapolated one.

    On the variance-exploding path with eta 1 it is (s'/s)^2 x + (1 - (s'/s)^2) D, the mean of SDE-DPM-Solver++. `previous` is
    the x0 predicted one level above, with that level, or None for first order.
    """
    if previous is not None and sigma_next > 0:
        denoised_before, sigma_before = previous
        ratio = path.log_snr_rise(sigma, sigma_next) / path.log_snr_rise(sigma_before, sigma)
        denoised = denoised + ratio / 2 * (denoised - denoised_before)
    eps = path.noise_of(x, denoised, sigma)
    return path.stochastic_step(denoised, eps, sigma, sigma_next, eta=eta, noise=torch.zeros_like(x))


def _require_solver(order: int, eta: float) -> None:
    if order not in (1, 2):
        raise ValueError(f"Edit-friendly DDPM: order is {order}; give 1 (DDPM) or 2 (SDE-DPM-Solver++).")
    if not 0 < eta <= 1:
        raise ValueError(
            f"Edit-friendly DDPM: eta is {eta}, but the method requires noise; give more than 0, at most 1."
        )
    if order == 2 and eta != 1:
        raise ValueError(
            f"Edit-friendly DDPM: order 2 is defined for eta 1 only, not {eta}; set eta to 1 or order to 1."
        )
