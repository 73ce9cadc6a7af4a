"""Null-text optimization (Mokady et al. 2023, arXiv 2211.09794): empty-prompt embeddings that make guidance follow a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..samplers.ddim import Denoise
from ..samplers.path import Path

Method = Literal["fast", "reference"]
EmbeddedDenoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The unconditional model: (x [1, C, H, W], sigma scalar tensor, embedding [1, T, D]) -> x0; differentiable in the embedding."""

NullTextCallback = Callable[[int, int, float, Tensor, Tensor], None]
"""(step from the noise end, inner step, its loss, x, x0): arguments for progress bars and previews."""

REFERENCE_STEPS = 100
REFERENCE_RATE = 1e-2
THRESHOLD_RISE = 2e-5
CURVATURE_MEMORY, CURVATURE_FLOOR = 0.9, 0.1
FORWARD, BACKWARD = 1, 2


@dataclass(frozen=True, kw_only=True)
class NullTextOptions:
    """Settings of the optimization.

    Attributes:
        cfg: the guidance scale w that the embeddings are made for; not 1, which uses no null embedding.
        inner_steps: maximum number of optimizer steps for each of the N steps.
        learning_rate: for "reference", Adam's rate at the first step; for "fast", 0.01 is a full step, see `_FastSteps`.
        epsilon: the loss at which step 0 stops; step i stops at epsilon + i * 2e-5.
        keep_residual: start each step on the trajectory itself, and return by how much each step missed it.
    """

    cfg: float = 7.5
    inner_steps: int = 10
    learning_rate: float = 1e-2
    epsilon: float = 1e-5
    keep_residual: bool = False

    def threshold(self, step: int) -> float:
        return self.epsilon + step * THRESHOLD_RISE


@dataclass(frozen=True)
class NullText:
    """The result of the optimization. Entry i belongs to the step that ends at level i, counted from the image.

    Attributes:
        embeddings: [N, T, D].
        residuals: [N, 1, C, H, W], by how much each step missed the trajectory, in units of the state.
        losses: for each step from the noise end, the mean squared errors (of unit-variance states) before its inner steps.
        unet_work: network passes; a forward pass counts 1 and a backward pass 2.
    """

    embeddings: Tensor
    residuals: Tensor
    losses: tuple[tuple[float, ...], ...]
    unet_work: int


@dataclass(frozen=True)
class GuidedStep:
    """One DDIM step under guidance whose only unknown is the null embedding.

    The step is affine in the unconditional x0. Its error is therefore that of the guided x0 times a known factor, and no
    sampler is part of the graph: x_next = x0 + (sigma_next / sigma) (x - x0), x0 = x0_null + w (x0_text - x0_null).
    """

    x: Tensor
    target: Tensor
    sigma: Tensor
    sigma_next: Tensor
    text_denoised: Tensor
    cfg: float
    path: Path

    def arrive(self, null_denoised: Tensor) -> Tensor:
        """x at sigma_next."""
        denoised = null_denoised + self.cfg * (self.text_denoised - null_denoised)
        return denoised + self.sigma_next / self.sigma * (self.x - denoised)

    def loss(self, null_denoised: Tensor) -> Tensor:
        """Mean squared distance to the trajectory, of unit-variance states (the published loss)."""
        missed = self.arrive(null_denoised) - self.target
        return missed.square().mean() / self.path.variance(self.sigma_next)


def optimize_null_text(
    text_denoise: Denoise,
    null_denoise: EmbeddedDenoise,
    states: Tensor,
    sigmas: Tensor,
    start: Tensor,
    options: NullTextOptions,
    *,
    path: Path,
    method: Method = "fast",
    callback: NullTextCallback | None = None,
) -> NullText:
    """Find, for every step, the null embedding with which guidance follows the trajectory back.

    Args:
        text_denoise: the model under the source prompt.
        null_denoise: the model under a given embedding; must be differentiable.
        states: [N+1, 1, C, H, W], ascending from the image.
        sigmas: [N+1], ascending.
        start: [1, T, D], the initial embedding (the empty prompt's).
        options: see `NullTextOptions`.
        path: the path of the states.
        method: "reference" is the published loop (algorithm 1 and its code): each step starts from the previous step's embedding,
            has its own Adam with the rate learning_rate (1 - i / 100), and stops after the first inner step whose loss was below
            the threshold. "fast" is ours, see `_FastSteps`.

    Raises:
        ValueError: for more than one image, cfg 1, negative inner steps, more than 100 steps with the reference method (whose
            learning rate would turn negative), and if the model overflows.
    """
    _require_possible(states, options, method)
    steps = len(sigmas) - 1
    optimize_step = _reference_step if method == "reference" else _FastSteps()
    embedding, x = start.detach().float().clone(), states[-1]
    embeddings, residuals, losses, work = [], [], [], 0
    for index in range(steps):
        level = steps - 1 - index
        sigma, sigma_next = sigmas[level + 1], sigmas[level]
        with torch.no_grad():
            text_denoised = text_denoise(x, sigma)
        step = GuidedStep(x, states[level], sigma, sigma_next, text_denoised, options.cfg, path)

        def report(inner: int, loss: float, x: Tensor = x, shown: Tensor = text_denoised, index: int = index) -> None:
            if callback is not None:
                callback(index, inner, loss, x, shown)

        found = optimize_step(step, null_denoise, embedding, options, index, report)
        if not bool(torch.isfinite(found.x_next).all()):
            raise ValueError(
                f"the state after step {index} of the null-text optimization is NaN or infinite; the model overflowed. "
                "Run it in a wider dtype (float32 or bfloat16), or lower cfg."
            )
        embedding = found.embedding
        work += FORWARD + found.work
        embeddings.append(embedding[0])
        residuals.append(states[level] - found.x_next)
        losses.append(tuple(found.losses))
        x = states[level] if options.keep_residual else found.x_next
    return NullText(torch.stack(embeddings[::-1]).detach(), torch.stack(residuals[::-1]).detach(), tuple(losses), work)


@dataclass(frozen=True)
class _FoundStep:
    embedding: Tensor
    x_next: Tensor
    losses: list[float]
    work: int


InnerReport = Callable[[int, float], None]


def _reference_step(
    step: GuidedStep,
    null_denoise: EmbeddedDenoise,
    embedding: Tensor,
    options: NullTextOptions,
    index: int,
    report: InnerReport,
) -> _FoundStep:
    embedding = embedding.clone().requires_grad_(True)
    adam = torch.optim.Adam([embedding], lr=options.learning_rate * (1 - index / REFERENCE_STEPS))
    losses, work = [], 0
    for inner in range(options.inner_steps):
        loss = step.loss(null_denoise(step.x, step.sigma, embedding))
        adam.zero_grad()
        loss.backward()
        adam.step()
        work += FORWARD + BACKWARD
        losses.append(loss.item())
        report(inner, losses[-1])
        if losses[-1] < options.threshold(index):
            break
    embedding = embedding.detach()
    with torch.no_grad():
        x_next = step.arrive(null_denoise(step.x, step.sigma, embedding))
    # The published code evaluates the prompt once more here, although nothing has changed.
    return _FoundStep(embedding, x_next, losses, work + 2 * FORWARD)


class _FastSteps:
    """Our own inner loop: a gradient preconditioned as in RMSprop, with a step length derived from the loss itself.

    The loss can get close to 0 (a whole embedding against one latent), so Polyak's step length loss / (g . direction) needs no
    tuning (Polyak 1987, Introduction to Optimization, section 5.3; Hazan and Kakade 2019, arXiv 1905.00313). The running mean of
    the squared gradient is similar from level to level, so it is kept over the whole run. Nothing is evaluated twice: the stop
    rule comes before the backward pass, and the last evaluation of the loop is also the step itself. The best embedding is kept,
    so a step that was too long does no harm.
    """

    def __init__(self) -> None:
        self.curvature = torch.zeros(())
        self.gradients = 0

    def __call__(
        self,
        step: GuidedStep,
        null_denoise: EmbeddedDenoise,
        embedding: Tensor,
        options: NullTextOptions,
        index: int,
        report: InnerReport,
    ) -> _FoundStep:
        losses: list[float] = []
        work, best, best_x = 0, embedding, step.x
        for inner in range(options.inner_steps + 1):
            is_last = inner == options.inner_steps
            leaf = embedding.clone().requires_grad_(not is_last)
            with torch.set_grad_enabled(not is_last):
                null_denoised = null_denoise(step.x, step.sigma, leaf)
                loss = step.loss(null_denoised)
            work += FORWARD
            losses.append(loss.item())
            report(inner, losses[-1])
            if inner == 0 or losses[-1] == min(losses):
                best, best_x = embedding, step.arrive(null_denoised.detach())
            if is_last or losses[-1] < options.threshold(index) or not math.isfinite(losses[-1]):
                break
            (gradient,) = torch.autograd.grad(loss, leaf)
            work += BACKWARD
            embedding = embedding - options.learning_rate / REFERENCE_RATE * self._polyak(gradient, losses[-1])
        return _FoundStep(best, best_x, losses, work)

    def _polyak(self, gradient: Tensor, loss: float) -> Tensor:
        squared = gradient.square()
        # An overflow would stay in the running mean forever; its own step ends at the next loss.
        if not 0 < float(squared.mean()) < math.inf:
            return gradient
        self.gradients += 1
        self.curvature = torch.lerp(squared / squared.mean(), self.curvature.to(squared), CURVATURE_MEMORY)
        unbiased = self.curvature / (1 - CURVATURE_MEMORY**self.gradients)
        direction = gradient / (unbiased.sqrt() + CURVATURE_FLOOR)
        return loss / (gradient * direction).sum() * direction


def _require_possible(states: Tensor, options: NullTextOptions, method: Method) -> None:
    if states.shape[1] != 1:
        raise ValueError(
            f"the trajectory holds {states.shape[1]} images, but null-text optimization is for one; "
            "invert them one at a time."
        )
    if options.cfg == 1:
        raise ValueError(
            "cfg is 1, at which the null embedding is never used; choose the cfg of the edit, such as 7.5."
        )
    if options.inner_steps < 0:
        raise ValueError(f"inner_steps is {options.inner_steps}; give 0 or more.")
    if method == "reference" and len(states) - 1 > REFERENCE_STEPS:
        raise ValueError(
            f"the trajectory has {len(states) - 1} steps, but the learning rate of the reference method turns negative "
            f"after {REFERENCE_STEPS}; choose the method fast, or invert with at most {REFERENCE_STEPS} steps."
        )
