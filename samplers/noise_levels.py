"""Between the papers' variance-preserving alpha bar and the noise levels of the variance-exploding scale, x = x0 + sigma * noise.

abar = 1 / (1 + sigma^2), and x_vp = x * sqrt(abar).
"""

from __future__ import annotations

from torch import Tensor

# ComfyUI's stand-in for abar = 0, where sigma would be infinite.
SMALLEST_ALPHA_CUMPROD = 4.8973451890853435e-08


def sigmas_from_alphas_cumprod(alphas_cumprod: Tensor) -> Tensor:
    """sigma = sqrt((1 - abar) / abar), float64 [T]; abar = 0 is read as 4.897e-8 (sigma 4518.8), as ComfyUI does."""
    alphas = alphas_cumprod.double().clamp(min=SMALLEST_ALPHA_CUMPROD)
    return ((1 - alphas) / alphas).sqrt()


def alphas_cumprod_from_sigmas(sigmas: Tensor) -> Tensor:
    """abar = 1 / (1 + sigma^2), in the dtype of `sigmas`."""
    return 1 / (1 + sigmas.square())
