"""Second-order sampling with one network evaluation per step: DPM-Solver++ 2M and the exponential two-step rule.

Both solve the probability flow ODE in lambda = -log(level). A step from s to s' with h = lambda' - lambda is

    x' = r x + (1 - r) D + w (D - D_old),   r = s' / s = exp(-h),

where D and D_old are the predictions of x0 at s and at the previous level. The rules differ only in `w`. The last term is
dropped when there is no D_old (the first step) and for a step to level 0. The formula is the same on every path of
`samplers.path`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .ddim import AfterStep, Denoise, StepCallback

MultistepRule = Literal["dpm++ 2m", "res 2m"]


def slope_weights(sigmas: Tensor, rule: MultistepRule) -> Tensor:
    """w [N] of each step of the descending levels sigmas [N+1]. With h_old the length of the previous step:

    * dpm++ 2m: (1 - r) h / (2 h_old), from Lu et al. 2022 (arXiv 2211.01095), algorithm 2, in k-diffusion's form
      (`sample_dpmpp_2m`).
    * res 2m: h phi_2(-h) h / h_old with phi_2(z) = (exp(z) - 1 - z) / z^2, from Zhang et al. 2023 (arXiv 2308.02157), the
      multistep rule of section 3.

    Raises ValueError unless the sigmas strictly descend.
    """
    _require_strictly_descending(sigmas)
    weights = torch.zeros_like(sigmas[1:])
    for step in range(1, len(weights)):
        sigma_old, sigma, sigma_next = sigmas[step - 1], sigmas[step], sigmas[step + 1]
        if sigma_next == 0:
            continue
        h, h_old = (sigma / sigma_next).log(), (sigma_old / sigma).log()
        gain = 1 - sigma_next / sigma
        mean_slope = gain / 2 if rule == "dpm++ 2m" else 1 - gain / h
        weights[step] = mean_slope * h / h_old
    return weights


@torch.no_grad()
def sample_multistep(
    denoise: Denoise,
    x: Tensor,
    sigmas: Tensor,
    rule: MultistepRule = "dpm++ 2m",
    callback: StepCallback | None = None,
    after_step: AfterStep | None = None,
) -> Tensor:
    """Take x [B, C, H, W] down the levels sigmas [N+1] with N model calls; returns x at the last level.

    `after_step` may replace the result of each step. Raises ValueError unless the sigmas strictly descend.
    """
    weights = slope_weights(sigmas, rule)
    denoised_old = None
    for step, (sigma, sigma_next, weight) in enumerate(zip(sigmas[:-1], sigmas[1:], weights, strict=True)):
        denoised = denoise(x, sigma)
        if callback is not None:
            callback(step, x, sigma, denoised)
        ratio = sigma_next / sigma
        x = ratio * x + (1 - ratio) * denoised
        if denoised_old is not None:
            x = x + weight * (denoised - denoised_old)
        denoised_old = denoised
        if after_step is not None:
            x = after_step(step, x)
    return x


def _require_strictly_descending(sigmas: Tensor) -> None:
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool((sigmas[1:] < sigmas[:-1]).all()) or sigmas[-1] < 0:
        raise ValueError(
            f"the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not strictly descend from noise to "
            "image, which a two-step rule needs; give a scheduler's sigmas without repeated levels."
        )
