"""Inversion of the second-order samplers of `samplers.multistep`: the noise from which their steps lead back to the image.

Solved for the noisier state x at level s, with y the state that the step leads to, the sampler's step is

    r x + (1 - r + w) D(x) - w D_above = y,

where D_above is the image predicted at the level above, which the sampler visits before and an inversion after. It is first
taken from the line through the last two predictions over log s, the same line that the rule draws; once the level
above is evaluated, x is solved again. D is evaluated at the x that this line predicts, and follows the solved x at held
velocity (`Path.k`). So a level costs one evaluation. (Hong et al. 2024, arXiv 2311.18387, invert the same step with a finer
DDIM inversion in place of the line and gradient descent in place of the single evaluation.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.multistep import MultistepRule, slope_weights
from ..samplers.path import Path
from .aligned import asks_of
from .result import Inversion

START_LEVELS = 2
"""Up to this level there are not yet two predictions below to draw a line through."""

SETTLED_LEVELS = 3
SWEEPS = 3
"""How many of the last states are solved again after an evaluation, and how often: arithmetic without the network. On the
miniature checkpoint two states and one sweep come 5 dB short of it."""


@dataclass(frozen=True)
class _Prediction:
    """The image `denoised` that the network predicted for the state `asked`; `slope` is d D / d x at held velocity."""

    asked: Tensor
    denoised: Tensor
    slope: Tensor

    def at(self, x: Tensor) -> Tensor:
        return self.denoised + self.slope * (x - self.asked)


@dataclass(frozen=True)
class _Steps:
    """The sampler's steps along ascending levels: step i leads from sigmas[i + 1] to sigmas[i]."""

    sigmas: Tensor
    weights: Tensor

    def explicit(self, step: int, below: Tensor, image: Tensor, image_above: Tensor) -> Tensor:
        """The state that step `step` leads from to `below`, given the images predicted at it and above it."""
        ratio, weight = self._coefficients(step)
        return (below - (1 - ratio + weight) * image + weight * image_above) / ratio

    def implicit(self, step: int, below: Tensor, prediction: _Prediction, image_above: Tensor) -> Tensor:
        """The same where the image at the state follows the state."""
        ratio, weight = self._coefficients(step)
        gain = 1 - ratio + weight
        at_zero = prediction.at(torch.zeros_like(below))
        return (below - gain * at_zero + weight * image_above) / (ratio + gain * prediction.slope)

    def images_needed(self, states: Sequence[Tensor]) -> list[Tensor]:
        """For each step the image with which the sampler, from the noise end down, leads exactly from state to state."""
        images = [states[-1]]
        for step in reversed(range(len(states) - 1)):
            ratio, weight = self._coefficients(step)
            images.append((states[step] - ratio * states[step + 1] + weight * images[-1]) / (1 - ratio + weight))
        return images[:0:-1]

    def image_at(self, level: int, last: int, images: Sequence[Tensor]) -> Tensor:
        """The image at `level` on the line over log s through the last two `images`, of the levels up to `last`.

        With one image, or beyond the last level, where no step asks for it, that of `last`.
        """
        if len(images) == 1 or level == len(self.sigmas):
            return images[-1]
        logs = self.sigmas[[last - 1, last, level]].log()
        return images[-1] + (images[-1] - images[-2]) * ((logs[2] - logs[1]) / (logs[1] - logs[0]))

    def _coefficients(self, step: int) -> tuple[Tensor, Tensor]:
        return self.sigmas[step] / self.sigmas[step + 1], self.weights[step]


@torch.no_grad()
def invert_multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    rule: MultistepRule = "dpm++ 2m",
    start_iterations: int = 2,
    callback: StepCallback | None = None,
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N + 2 * start_iterations model calls (N of 2 or more).

    The last state gives x again when `rule` samples it down the same levels, in `samplers.multistep.sample_multistep` or in
    any other implementation of the rule. sigmas[0] may be 0. A walk back from a lower state begins with a first-order step,
    for which that state was not solved, and is less exact.

    `start_iterations` evaluates each of the first two levels that many more times. Raises ValueError when it is negative or
    the sigmas do not strictly ascend.
    """
    if start_iterations < 0:
        raise ValueError(f"start_iterations is {start_iterations}; give 0 or more.")
    steps = _Steps(sigmas, slope_weights(sigmas.flip(0), rule).flip(0))
    states, predictions = [x], []
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        states.append(
            path.at_level(x, sigma, sigma_next) if step == 0 else _predicted(steps, step, states, predictions)
        )
        for _ in range(1 + start_iterations if step < START_LEVELS else 1):
            asked = states[-1]
            predictions[step:] = [_Prediction(asked, denoise(asked, sigma_next), path.k(sigma_next))]
            _settle(steps, step, states, predictions)
        if callback is not None:
            callback(step, states[-1], sigma_next, predictions[-1].denoised)
    asked, answered = [each.asked for each in predictions], [each.denoised for each in predictions]
    asks = asks_of(states, sigmas, asked, list(sigmas[1:]), answered, steps.images_needed(states))
    changes = [x - prediction.asked for x, prediction in zip(states[1:], predictions, strict=True)]
    residuals = [path.to_unit(change, s).square().mean().sqrt() for change, s in zip(changes, sigmas[1:], strict=True)]
    return Inversion(torch.stack(states), torch.stack(residuals), asks=asks)


def _predicted(steps: _Steps, step: int, states: Sequence[Tensor], predictions: Sequence[_Prediction]) -> Tensor:
    """The state that step `step` leads from, its image not yet known."""
    images = _images(states, predictions)
    here, above = (steps.image_at(level, step, images) for level in (step + 1, step + 2))
    return steps.explicit(step, states[step], here, above)


def _settle(steps: _Steps, step: int, states: list[Tensor], predictions: Sequence[_Prediction]) -> None:
    """Solve the last states again, now that the image at the last one is known.

    A state depends on the image above it and that image on its own state, which depends on the state below: hence the sweeps.
    """
    for _ in range(SWEEPS):
        for lower in range(max(0, step + 1 - SETTLED_LEVELS), step):
            above = predictions[lower + 1].at(states[lower + 2])
            states[lower + 1] = steps.implicit(lower, states[lower], predictions[lower], above)
        above = steps.image_at(step + 2, step + 1, _images(states, predictions))
        states[step + 1] = steps.implicit(step, states[step], predictions[step], above)


def _images(states: Sequence[Tensor], predictions: Sequence[_Prediction]) -> list[Tensor]:
    """The images at the last two of the states that have a prediction (the first state, the image itself, has none)."""
    pairs = list(zip(predictions, states[1:], strict=False))
    return [prediction.at(x) for prediction, x in pairs[-2:]]
