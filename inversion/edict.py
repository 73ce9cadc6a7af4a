"""EDICT, exact diffusion inversion via coupled transformations (Wallace et al. 2022, arXiv 2211.12446).

Two copies of the image are sampled together: each takes a step with the eps that the network predicts for the other, then
they are mixed. Every such step can be solved for its input. Mixing keeps the copies together; undoing it drives them apart,
by mixing^-2 per step. A copy that has already stepped is rescaled to the other's level, at unit variance, for the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.path import Path, direction
from .exact import exact_levels, in_float64, require_pair
from .result import Inversion


@torch.no_grad()
def invert_edict(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    mixing: float = 0.93,
    callback: StepCallback | None = None,
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with 2 N model calls.

    The steps of `sample_edict`, solved for their input, in reverse order. The pairs are the two copies at every level, see
    `exact`.
    Raises ValueError if mixing is not in (0.5, 1) or the sigmas do not ascend.
    """
    _require_mixing(mixing)
    sigmas = exact_levels("EDICT inversion", sigmas, "ascend")
    denoise = in_float64(denoise)
    pairs = [torch.stack([x, x]).cpu().double()]
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        states = _unmix(pairs[-1], mixing)
        first, second = _order(step + 1)
        query = path.from_unit(path.to_unit(states[first], sigma), sigma_next)
        d = direction(query, denoise(query, sigma_next), sigma_next)
        states[second] = states[second] + (sigma_next - sigma) * d
        denoised = denoise(states[second], sigma_next)
        d = direction(states[second], denoised, sigma_next)
        states[first] = states[first] + (sigma_next - sigma) * d
        pairs.append(torch.stack(states))
        if callback is not None:
            callback(step, states[second], sigma_next, denoised)
    stacked = torch.stack(pairs)
    return Inversion(stacked[:, 0], pairs=stacked)


@torch.no_grad()
def sample_edict(
    denoise: Denoise,
    pair: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    mixing: float = 0.93,
    callback: StepCallback | None = None,
) -> Tensor:
    """Take a pair [2, B, C, H, W] at sigmas[0] down the levels sigmas [n+1], with 2 n model calls.

    The paper's coupled step, where p is `mixing` and DDIM is the step from i to i-1 with a given eps:
    x' = DDIM(x, eps(y, i)), y' = DDIM(y, eps(x', i)), then x = p x' + (1 - p) y', y = p y' + (1 - p) x. The roles of x and y
    in the first two are swapped at every other step, those in the mixing never, as in the published code.

    Returns the first copy at the last level, float64 [B, C, H, W].
    Raises ValueError if mixing is not in (0.5, 1), `pair` is not a state pair, or the sigmas do not descend.
    """
    _require_mixing(mixing)
    require_pair("EDICT sampling", pair)
    sigmas = exact_levels("EDICT sampling", sigmas, "descend")
    denoise = in_float64(denoise)
    states = list(pair.double())
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        first, second = _order(len(sigmas) - 1 - step)
        denoised = denoise(states[second], sigma)
        if callback is not None:
            callback(step, states[second], sigma, denoised)
        d = direction(states[second], denoised, sigma)
        states[first] = states[first] + (sigma_next - sigma) * d
        query = path.from_unit(path.to_unit(states[first], sigma_next), sigma)
        d = direction(query, denoise(query, sigma), sigma)
        states[second] = states[second] + (sigma_next - sigma) * d
        states = _mix(states, mixing)
    return states[0]


def _order(level: int) -> tuple[int, int]:
    """Which copy steps first and which second, on the way down from the `level`-th level above the image.

    For an even number of steps this matches the published code, which alternates starting from the noise end.
    """
    return level % 2, (level + 1) % 2


def _mix(states: list[Tensor], mixing: float) -> list[Tensor]:
    """Pull the copies together; both are at the same level, so the scale does not matter."""
    x = mixing * states[0] + (1 - mixing) * states[1]
    return [x, mixing * states[1] + (1 - mixing) * x]


def _unmix(pair: Tensor, mixing: float) -> list[Tensor]:
    """The inverse of `_mix`."""
    y = (pair[1] - (1 - mixing) * pair[0]) / mixing
    return [(pair[0] - (1 - mixing) * y) / mixing, y]


def _require_mixing(mixing: float) -> None:
    if not 0.5 < mixing < 1:
        raise ValueError(f"EDICT: mixing is {mixing}; give more than 0.5 and less than 1 (0.93 in the paper).")
