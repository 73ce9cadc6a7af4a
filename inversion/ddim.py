"""DDIM inversion: the probability flow ODE walked from the image to the noise, every state kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.prediction import eps_from_denoised, variance_preserving
from .fixed_point import Acceleration, next_estimate


@dataclass(frozen=True)
class Inversion:
    """What an inversion visited.

    Attributes:
        states: [N+1, B, C, H, W], variance-exploding scale; states[0] is the input, states[N] the noise end.
        residuals: [N], for each step the root mean square of its last change of the state, in units of the
            variance-preserving scale (where every state has about unit variance): how far it is from the fixed point.
    """

    states: Tensor
    residuals: Tensor


@torch.no_grad()
def invert_ddim(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    fixed_point_iterations: int = 0,
    callback: StepCallback | None = None,
    acceleration: Acceleration = "none",
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N * (1 + fixed_point_iterations) model calls.

    Plain (0 iterations) is the convention of the references (diffusers' DDIMInverseScheduler, the null-text code of
    Mokady et al. 2023): the network is asked at the DESTINATION level, with the state of the current one. Each iteration
    asks it again at that level with the state just found (after Pan et al. 2023, AIDI, arXiv 2309.04907, eq. 8, with v held
    instead of eps, see `_preimage`), so that the state approaches the exact preimage of the DDIM step back; `acceleration`
    combines the iterations, see `inversion.fixed_point`.

    Raises ValueError when the sigmas do not ascend or `fixed_point_iterations` is negative.
    """
    if fixed_point_iterations < 0:
        raise ValueError(f"DDIM inversion: fixed_point_iterations is {fixed_point_iterations}; give 0 or more.")
    _require_ascending(sigmas)
    states, residuals = [x], []
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        asked = x * ((1 + sigma_next**2) / (1 + sigma**2)).sqrt()
        denoised = denoise(asked, sigma_next)
        estimate = x + (sigma_next - sigma) * eps_from_denoised(denoised, asked, sigma_next)
        answer, questions, answers = estimate, [], []
        for iteration in range(fixed_point_iterations):
            asked = estimate
            denoised = denoise(asked, sigma_next)
            answer = _preimage(x, asked, denoised, sigma, sigma_next)
            questions.append(asked)
            answers.append(answer)
            last = iteration == fixed_point_iterations - 1
            estimate = next_estimate(questions, answers, acceleration, last)
        residuals.append(variance_preserving(answer - asked, sigma_next).square().mean().sqrt())
        x = estimate
        states.append(x)
        if callback is not None:
            callback(step, x, sigma_next, denoised)
    return Inversion(torch.stack(states), torch.stack(residuals))


def _preimage(x: Tensor, asked: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """The state at `sigma_next` whose DDIM step back gives x, if the network's v there were the one it gave for `asked`.

    The step back is x = r z + (1 - r) x0(z) with r = sigma / sigma_next, and a constant v means
    x0(z) = denoised + abar (z - asked). Holding v, not eps, has the same fixed point and contracts at every level, also
    where the signal is nearly gone (zero-terminal SNR).
    """
    ratio, alpha_cumprod = sigma / sigma_next, 1 / (1 + sigma_next**2)
    return (x + (1 - ratio) * (alpha_cumprod * asked - denoised)) / (ratio + alpha_cumprod * (1 - ratio))


def _require_ascending(sigmas: Tensor) -> None:
    if sigmas.ndim != 1 or len(sigmas) < 2 or bool((sigmas[1:] < sigmas[:-1]).any()) or bool((sigmas[1:] <= 0).any()):
        raise ValueError(
            f"DDIM inversion: the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not ascend from "
            "image to noise; give Schedule.ascending_sigmas."
        )
