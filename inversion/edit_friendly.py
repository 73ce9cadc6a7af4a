"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140), and its second-order form of
LEDITS++ (Brack et al. 2023, arXiv 2311.16711).

The image is noised independently at every level; what each stochastic step must add to its deterministic part to lead
from one of those states to the next is kept. Sampling with these noise maps gives the image again, whatever the guidance.
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

    The states are x noised to each level with an independent noise, drawn from level 1 up. The step from state i+1 has the mean mu;
    map_i = x_i - mu, and x_i is set to mu + map_i, exactly the sum computed in sampling, so rounding does not accumulate.

    The map of the last step is kept too. The published code stores z and therefore zeroes that of a step to sigma 0,
    where sigma_t is 0, which leaves a small error; the difference in units of the state is well defined there.

    Args:
        order: 1 is DDIM's step with `eta`; 2 is SDE-DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095), for which eta
            is 1. Its first step and one to sigma 0 are of first order.
        eta: more than 0, at most 1 (DDPM's variance).
        callback: called at each step from the noise end, (step, x before it, sigma before it, x0).

    States and maps have the dtype and device of x.
    Raises ValueError when the sigmas do not ascend, or for an order or eta that is not offered.
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
    """Walk x [B, C, H, W] down the levels sigmas [n+1] with stored noise, n model calls; returns x at the last level.

    Args:
        noise_maps: [n, B, C, H, W], of `invert_edit_friendly` and in its order: noise_maps[k] belongs to the step that
            ends at the k-th level from the image. A start in the middle takes the first n of them.
        order, eta: those of the inversion.
        previous: (state, sigma) of the level before the start. Order 2 evaluates the network there once more, for the x0
            that its first step extrapolates from, so that a start in the middle is exact as well; without it that step
            is of first order, as it is at the noise end. Order 1 has no use for it.
        states: [n, 1 or B, C, H, W], the inversion's own in the order of the maps, which a walk that differs from them by
            rounding alone is kept to, see `inversion.snap`.

    Raises ValueError when the sigmas do not descend, the maps are not one for each step, `previous` does not lie above
    the start, or for an order or eta that is not offered.
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
            f"{float(sigmas[0]):.4f}; give the state one level nearer to the noise."
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
    """The deterministic part of a stochastic step: DDIM's without its noise, to which order 2 gives an extrapolated x0.

    On the variance-exploding path at eta 1 that is (s'/s)^2 x + (1 - (s'/s)^2) D, the mean of SDE-DPM-Solver++. `previous` is
    the x0 predicted one level before and that level, or None for first order.
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
