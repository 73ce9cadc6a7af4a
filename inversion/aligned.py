"""The aligned way back (after DirectEdit, ICML 2026): it evaluates the network at the inputs of the inversion.

An inversion cannot evaluate the network at the state that it is about to find, only near it. So the way back, which evaluates it
at the state itself, misses the image. The difference is known: added to the state, it makes the same prompt give the same answer
as on the way up, and the image comes back without one more evaluation. Under another prompt the same offset is added.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..samplers.ddim import Denoise
from ..samplers.path import direction
from ..samplers.schedule import step_at
from .result import Asks

ROUNDING = 1e-5
"""As `inversion.snap.ROUNDING`, for walks that repeat the inversion's own evaluations and so its rounding."""


def aligned_denoise(denoise: Denoise, asks: Asks, sigmas: Tensor) -> Denoise:
    """`denoise` for the way back down `sigmas` [n+1], the n lowest steps of the inversion that `asks` are of, reversed.

    At the state x of level s it evaluates the network at x + offset, and gives x - s d + correction, d being the direction found.
    """

    def aligned(x: Tensor, sigma: Tensor) -> Tensor:
        step = len(sigmas) - 2 - step_at(sigmas, sigma)
        query, level = x + asks.offsets[step].to(x), asks.levels[step].to(x)
        image = x - sigma * direction(query, denoise(query, level), level)
        return image if asks.corrections is None else image + asks.corrections[step].to(x)

    return aligned


def asks_of(
    states: Sequence[Tensor],
    sigmas: Tensor,
    queries: Sequence[Tensor],
    levels: Sequence[Tensor],
    answers: Sequence[Tensor] = (),
    needed: Sequence[Tensor] = (),
) -> Asks:
    """What an inversion found: N+1 states at ascending sigmas [N+1] by evaluating the network at N queries and levels.

    With the N `answers` (x0) also what they lack of the images `needed` for the way back, by default an Euler step's. Without
    them the inversion stepped by the directions found, and nothing is lacking.
    """
    offsets = torch.stack([query - state for query, state in zip(queries, states[1:], strict=True)])
    corrections = None
    if answers:
        corrections = torch.stack(
            [
                image - (state - s * direction(query, answer, level))
                for image, state, s, query, answer, level in zip(
                    needed or euler_images(states, sigmas),
                    states[1:],
                    sigmas[1:],
                    queries,
                    answers,
                    levels,
                    strict=True,
                )
            ]
        )
    return Asks(offsets, torch.stack(list(levels)), corrections)


def euler_images(states: Sequence[Tensor], sigmas: Tensor) -> list[Tensor]:
    """For each step the image from which an Euler step leads exactly from its noisier state to the other."""
    images = []
    for below, state, s_below, s in zip(states[:-1], states[1:], sigmas[:-1], sigmas[1:], strict=True):
        rise = s - s_below
        # Two equal levels (a terminal at the first level, met by a grid that begins there) say nothing of a direction.
        images.append(state - s * (state - below) / torch.where(rise > 0, rise, torch.inf))
    return images
