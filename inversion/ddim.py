"""DDIM inversion: integrate the probability flow ODE from image to noise, keeping every state."""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.path import Path, direction
from .aligned import asks_of
from .fixed_point import Acceleration, next_estimate
from .result import Inversion


@torch.no_grad()
def invert_ddim(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    fixed_point_iterations: int = 0,
    acceleration: Acceleration = "none",
    callback: StepCallback | None = None,
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N * (1 + fixed_point_iterations) model calls.

    Plain (0 iterations) is the convention of the references (diffusers' DDIMInverseScheduler, the null-text code of
    Mokady et al. 2023): the network is evaluated at the DESTINATION level, with the state of the current one. Each iteration
    evaluates it again at that level with the state just found (after Pan et al. 2023, AIDI, arXiv 2309.04907, eq. 8, with v
    held instead of eps, see `Path.preimage`), so that the state approaches the exact preimage of the DDIM step back;
    `acceleration` combines the iterations, see `inversion.fixed_point`.

    Raises ValueError if the sigmas do not ascend or `fixed_point_iterations` is negative.
    """
    if fixed_point_iterations < 0:
        raise ValueError(f"DDIM inversion: fixed_point_iterations is {fixed_point_iterations}; give 0 or more.")
    _require_ascending(sigmas)
    states, residuals = [x], []
    asked, answered = [], []
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        query = path.at_level(x, sigma, sigma_next)
        denoised = denoise(query, sigma_next)
        estimate = x + (sigma_next - sigma) * direction(query, denoised, sigma_next)
        preimage, queries, preimages = estimate, [], []
        for iteration in range(fixed_point_iterations):
            query = estimate
            denoised = denoise(query, sigma_next)
            preimage = path.preimage(x, query, denoised, sigma, sigma_next)
            queries.append(query)
            preimages.append(preimage)
            last = iteration == fixed_point_iterations - 1
            estimate = next_estimate(queries, preimages, acceleration, last)
        residuals.append(path.to_unit(preimage - query, sigma_next).square().mean().sqrt())
        x = estimate
        states.append(x)
        asked.append(query)
        # Without iterations the steps are Euler's with the directions found, and there is nothing to correct.
        answered += [denoised] if fixed_point_iterations else []
        if callback is not None:
            callback(step, x, sigma_next, denoised)
    asks = asks_of(states, sigmas, asked, list(sigmas[1:]), answered)
    return Inversion(torch.stack(states), torch.stack(residuals), asks=asks)


def _require_ascending(sigmas: Tensor) -> None:
    if sigmas.ndim != 1 or len(sigmas) < 2 or bool((sigmas[1:] < sigmas[:-1]).any()) or bool((sigmas[1:] <= 0).any()):
        raise ValueError(
            f"DDIM inversion: the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not ascend from "
            "image to noise; give Schedule.ascending_sigmas."
        )
