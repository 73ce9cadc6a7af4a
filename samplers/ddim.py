"""DDIM (Song et al. 2021, arXiv 2010.02502) on any path: one step, and the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .noise import NoiseSource
from .path import Path, direction

Denoise = Callable[[Tensor, Tensor], Tensor]
"""The model: (x [B, C, H, W], sigma scalar tensor) -> x0 [B, C, H, W]."""

StepCallback = Callable[[int, Tensor, Tensor, Tensor], None]
"""(step, x and sigma before the step, predicted x0): for previews and progress bars."""

AfterStep = Callable[[int, Tensor], Tensor]
"""(step, x after the step) -> the x to continue with, such as a blend. Must not modify x in place."""


@dataclass(frozen=True, kw_only=True)
class DenoisedRange:
    """How the predicted x0 is limited before a step (all off by default).

    Attributes:
        clip: clamp x0 to +-clip (diffusers' clip_sample with clip_sample_range), or None.
        quantile: the ratio of dynamic thresholding (Saharia et al. 2022, arXiv 2205.11487, section 2.3), or None: clamp each
            row to its own quantile of |x0|, at least 1 and at most `quantile_max`, and divide by it. Overrides `clip`.
        quantile_max: diffusers' sample_max_value.
        recompute_eps: compute eps from the limited x0 (diffusers' use_clipped_model_output).
    """

    clip: float | None = None
    quantile: float | None = None
    quantile_max: float = 1.0
    recompute_eps: bool = False

    def limit(self, denoised: Tensor) -> Tensor:
        """The limited x0; same shape and dtype."""
        if self.quantile is not None:
            magnitudes = denoised.flatten(1).abs().float()
            bound = torch.quantile(magnitudes, self.quantile, dim=1).clamp(1.0, max(1.0, self.quantile_max))
            bound = bound.to(denoised.dtype).view(-1, *(1,) * (denoised.ndim - 1))
            return denoised.clamp(-bound, bound) / bound
        if self.clip is not None:
            return denoised.clamp(-self.clip, self.clip)
        return denoised


UNLIMITED = DenoisedRange()


@dataclass(frozen=True)
class FreshNoise:
    """The noise that steps add when eta is above 0.

    Attributes:
        path: how much noise a state has at each level.
        eta: 1 gives DDPM's ancestral variance, see `Path.stochastic_step`.
        draw: returns standard normal noise [B, C, H, W]; called once per step.
    """

    path: Path
    eta: float
    draw: NoiseSource


def ddim_step(
    x: Tensor,
    denoised: Tensor,
    sigma: Tensor,
    sigma_next: Tensor,
    *,
    fresh: FreshNoise | None = None,
    denoised_range: DenoisedRange = UNLIMITED,
) -> Tensor:
    """Step from level sigma to sigma_next, given the model's prediction of x0 for x (eq. 12 of the paper).

    Without `fresh` noise this is the Euler step x + (sigma_next - sigma) d of the probability flow ODE, on every path.

    Args:
        x, denoised: [B, C, H, W] at level `sigma`, which must be above 0.
        sigma, sigma_next: scalar tensors.
        fresh: the noise to add, or None.
        denoised_range: limits x0 first.

    Returns:
        x at `sigma_next`.
    """
    limited = denoised_range.limit(denoised)
    image = limited if denoised_range.recompute_eps else denoised
    if fresh is None:
        return limited + sigma_next * direction(x, image, sigma)
    eps = fresh.path.noise_of(x, image, sigma)
    return fresh.path.stochastic_step(limited, eps, sigma, sigma_next, eta=fresh.eta, noise=fresh.draw())


@torch.no_grad()
def sample_ddim(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    *,
    fresh: FreshNoise | None = None,
    denoised_range: DenoisedRange = UNLIMITED,
    callback: StepCallback | None = None,
    after_step: AfterStep | None = None,
) -> Tensor:
    """Take x [B, C, H, W] down the levels sigmas [N+1] (not increasing); returns x at the last level.

    `after_step` may replace the result of each step. Raises ValueError if the sigmas increase.
    """
    require_descending(sigmas)
    for step, (sigma, sigma_next) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        denoised = denoise(x, sigma)
        if callback is not None:
            callback(step, x, sigma, denoised)
        x = ddim_step(x, denoised, sigma, sigma_next, fresh=fresh, denoised_range=denoised_range)
        if after_step is not None:
            x = after_step(step, x)
    return x


def require_descending(sigmas: Tensor) -> None:
    """Raise ValueError unless sigmas [N+1] go from noise to image."""
    if sigmas.ndim != 1 or bool((sigmas[1:] > sigmas[:-1]).any()) or bool((sigmas[:-1] <= 0).any()):
        raise ValueError(
            f"DDIM: the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not descend from noise to "
            "image; give a scheduler's sigmas, not flipped ones (an inversion reverses them by itself)."
        )
