"""What the exact inversions share (EDICT, BDIA, O-BELM): float64 pairs of states, and the walk of the two-step methods.

An exact inversion keeps TWO states at every level, and the way back is exact only from both. Such a pair is
[2, B, C, H, W], float64:

* EDICT: two coupled copies of the image, both at the level itself; at level 0 twice the image.
* BDIA and O-BELM: the state at the level and the one at the level below it, (x_i, x_{i-1}); at level 0 (x_0, x_0).

State arithmetic is float64 on the CPU, since not every device has float64 and a state is small beside the network. The network
is evaluated in float32; its `denoise` brings a state to its own device. A different network or guidance on the way back makes
an edit; the same one makes the image again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.path import Path
from .ddim import invert_ddim
from .result import Inversion

TwoStepRule = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""(x_old, x, x0, sigma_old, sigma, sigma_new) -> x_new: the state after x, whose predecessor was x_old, given the x0
predicted for x. Upwards the old level lies below, downwards above."""


def in_float64(denoise: Denoise) -> Denoise:
    """`denoise` for float64 states: evaluated in float32, with the result converted to the state's dtype and device."""

    def denoise_in_float32(x: Tensor, sigma: Tensor) -> Tensor:
        return denoise(x.float(), sigma.float()).to(x)

    return denoise_in_float32


def exact_levels(method: str, sigmas: Tensor, direction: Literal["ascend", "descend"]) -> Tensor:
    """`sigmas` [N+1] in float64 on the CPU.

    Raises ValueError unless they strictly ascend (image to noise) or descend (noise to image), with 0 only at the image.
    """
    ascending = sigmas if direction == "ascend" else sigmas.flip(0)
    if sigmas.ndim != 1 or len(sigmas) < 2 or not bool((ascending[1:] > ascending[:-1]).all()) or ascending[0] < 0:
        raise ValueError(
            f"{method}: the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not {direction} strictly "
            f"{'from image to noise' if direction == 'ascend' else 'from noise to image'}; give two levels or more, "
            f"{'as Schedule.ascending_sigmas' if direction == 'ascend' else 'as Schedule.sigmas'}, none of them twice."
        )
    return sigmas.cpu().double()


def require_pair(method: str, pair: Tensor) -> None:
    """Raise ValueError unless `pair` is [2, B, C, (T,) H, W]."""
    if pair.ndim not in (5, 6) or pair.shape[0] != 2:
        raise ValueError(
            f"{method}: a pair of states [2, B, C, H, W] is needed to walk back, not {list(pair.shape)}; "
            "give one level of this method's inversion."
        )


def invert_two_step(
    denoise: Denoise, x: Tensor, sigmas: Tensor, rule: TwoStepRule, *, path: Path, callback: StepCallback | None
) -> Inversion:
    """The pairs from x [B, C, H, W] up the ascending float64 levels [N+1], with N model calls.

    A two-step method has no predecessor at first: the first step is DDIM's in the reference convention (the network evaluated
    at the destination level, see `invert_ddim`), every later one `rule`'s.
    """
    denoise = in_float64(denoise)
    states = list(invert_ddim(denoise, x.cpu().double(), sigmas[:2], path=path, callback=callback).states)
    for step, (sigma_old, sigma, sigma_new) in enumerate(zip(sigmas, sigmas[1:], sigmas[2:], strict=False), start=1):
        denoised = denoise(states[-1], sigma)
        states.append(rule(states[-2], states[-1], denoised, sigma_old, sigma, sigma_new))
        if callback is not None:
            callback(step, states[-1], sigma_new, denoised)
    return Inversion(
        torch.stack(states), pairs=torch.stack([torch.stack(states), torch.stack([states[0], *states[:-1]])], dim=1)
    )


def sample_two_step(
    denoise: Denoise, pair: Tensor, sigmas: Tensor, rule: TwoStepRule, *, callback: StepCallback | None
) -> Tensor:
    """x [B, C, H, W] at the last of the descending float64 levels [n+1], from the pair at the first.

    The pair already holds where step 0 leads, so there are n - 1 model calls, and callbacks for the steps 1 to n - 1.
    """
    denoise = in_float64(denoise)
    x_old, x = pair.double()
    for step, (sigma_old, sigma, sigma_new) in enumerate(zip(sigmas, sigmas[1:], sigmas[2:], strict=False), start=1):
        denoised = denoise(x, sigma)
        if callback is not None:
            callback(step, x, sigma, denoised)
        x_old, x = x, rule(x_old, x, denoised, sigma_old, sigma, sigma_new)
    return x
