"""Inversions made for rectified flows: each finds the velocity of a step in another way, x' = x + (s' - s) v.

All of them are Euler's step with the velocity of one evaluation, so that `inversion.aligned` leads back exactly from any of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..samplers.ddim import AfterStep, Denoise, StepCallback, require_descending
from ..samplers.noise import NoiseSource
from ..samplers.path import Path, direction
from .aligned import asks_of
from .result import Inversion

LOWEST_ASKED = 1e-2
"""A velocity is (x - x0) / s: below this level the network is evaluated here, where float32 still holds it."""

Ask = Callable[[Tensor, Tensor], Tensor]
"""(state, level) -> the velocity there."""


@torch.no_grad()
def invert_uni(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, path: Path, callback: StepCallback | None = None
) -> Inversion:
    """Uni-Inv (Jiao et al. 2025, arXiv 2504.13109), with N + 1 model calls.

    The next state is guessed with the last velocity, the network evaluated there, and the step made from where the guess
    began: x~ = x + (s' - s) v_last, v = v(x~, s'), x' = x + (s' - s) v. The first v_last is that of the image itself.
    Raises ValueError when the sigmas do not ascend.
    """
    return _invert_guessing(denoise, x, sigmas, lambda ask: ask(x, sigmas[0]), callback)


@torch.no_grad()
def invert_dna(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, path: Path, noise: NoiseSource, callback: StepCallback | None = None
) -> Inversion:
    """DNAEdit's inversion (Xie et al. 2025, arXiv 2506.01430), with N model calls.

    Its guess goes straight to a random noise n, which each step corrects by the velocity found there: that is Uni-Inv whose first
    velocity is n - x0, for (n - x) / (1 - s) is the velocity of the step before once n is corrected.
    Raises ValueError when the sigmas do not ascend.
    """
    drawn = path.b(torch.ones(())) * noise().to(x)
    return _invert_guessing(denoise, x, sigmas, lambda ask: (drawn - x) / (1 - sigmas[0]), callback)


@torch.no_grad()
def invert_midpoint(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    reuse: bool = False,
    callback: StepCallback | None = None,
) -> Inversion:
    """The midpoint rule, of second order: RF-Solver (Wang et al. 2024, arXiv 2411.04746) with 2 N model calls, and with `reuse`
    FireFlow (Deng et al. 2024, arXiv 2412.07517) with N + 1.

    x~ = x + (s' - s) / 2 v, v_mid = v(x~, (s + s') / 2), x' = x + (s' - s) v_mid. RF-Solver's Taylor step is the same with its
    finite difference put in. FireFlow takes the last v_mid for v.
    Raises ValueError when the sigmas do not ascend.
    """
    levels, queries, states = _midpoints(denoise, x, _ascending(sigmas), reuse, callback)
    return Inversion(torch.stack(states), asks=asks_of(states, sigmas, queries, levels))


@torch.no_grad()
def sample_midpoint(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    reuse: bool = False,
    callback: StepCallback | None = None,
    after_step: AfterStep | None = None,
) -> Tensor:
    """`invert_midpoint`'s rule down the levels sigmas [N+1], as RF-Solver and FireFlow sample; returns x at the last level.

    Raises ValueError when the sigmas do not descend.
    """
    require_descending(sigmas)
    return _midpoints(denoise, x, sigmas, reuse, callback, after_step)[2][-1]


def _invert_guessing(
    denoise: Denoise, x: Tensor, sigmas: Tensor, first: Callable[[Ask], Tensor], callback: StepCallback | None
) -> Inversion:
    """Steps with the velocity at a guess of where they lead, which is made with the velocity of the step before."""
    velocity = first(_asking(denoise))
    states, queries = [x], []
    for step, (s, s_next) in enumerate(zip(_ascending(sigmas)[:-1], sigmas[1:], strict=True)):
        query = x + (s_next - s) * velocity
        denoised = denoise(query, s_next)
        velocity = direction(query, denoised, s_next)
        x = x + (s_next - s) * velocity
        states.append(x)
        queries.append(query)
        if callback is not None:
            callback(step, x, s_next, denoised)
    return Inversion(torch.stack(states), asks=asks_of(states, sigmas, queries, list(sigmas[1:])))


def _midpoints(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    reuse: bool,
    callback: StepCallback | None,
    after_step: AfterStep | None = None,
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The levels and inputs of the evaluations in the middle of each step, and the N+1 states; in either direction."""
    ask, velocity = _asking(denoise), None
    levels, queries, states = [], [], [x]
    for step, (s, s_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        if velocity is None or not reuse:
            velocity = ask(x, s)
        level, query = (s + s_next) / 2, x + (s_next - s) / 2 * velocity
        denoised = denoise(query, level)
        velocity = direction(query, denoised, level)
        if callback is not None:
            callback(step, x, s, denoised)
        x = x + (s_next - s) * velocity
        if after_step is not None:
            x = after_step(step, x)
        levels.append(level)
        queries.append(query)
        states.append(x)
    return levels, queries, states


def _asking(denoise: Denoise) -> Ask:
    def ask(x: Tensor, s: Tensor) -> Tensor:
        level = s.clamp(min=LOWEST_ASKED)
        return direction(x, denoise(x, level), level)

    return ask


def _ascending(sigmas: Tensor) -> Tensor:
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool((sigmas[1:] > sigmas[:-1]).all()) or sigmas[0] < 0:
        raise ValueError(
            f"the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not ascend strictly from image to noise; give "
            "levels without repetition."
        )
    return sigmas
