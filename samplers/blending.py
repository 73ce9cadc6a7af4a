"""Latent blending: put the unmasked area back at every level, and repaint only the masked area.

Masks are 1 where the image is repainted and 0 where it is kept, as in ComfyUI. Sources of the unmasked area:

  legacy      the clean latent with the run's own noise at the level BEFORE the step, one level too noisy, as in diffusers'
              StableDiffusionInpaintPipelineLegacy and in Blended Latent Diffusion for SD2 and SDXL;
  matched     the same at the state's own level (diffusers' newer StableDiffusionInpaintPipeline with a four-channel UNet;
              in the unmasked area also the noise mask of a latent in ComfyUI);
  trajectory  the states of an inversion of the image: no noise is added, and all levels are consistent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .ddim import AfterStep, Denoise
from .path import Path
from .schedule import SAME_LEVEL, step_at

Source = Literal["legacy", "matched", "trajectory"]
MaskOverTime = Literal["constant", "shrinking", "change map"]


class Background(Protocol):
    """The unmasked area of the image at each noise level."""

    @property
    def clean(self) -> Tensor:
        """The image's latent [B, C, H, W]."""
        ...

    def at(self, sigma: Tensor) -> Tensor:
        """The state [B, C, H, W] at a level (scalar tensor)."""
        ...

    def denoised_at(self, sigma: Tensor) -> Tensor:
        """The x0 [B, C, H, W] with which an ODE step leads from `at(sigma)` to the state of the next lower level."""
        ...


@dataclass(frozen=True)
class NoisedImage:
    """The clean latent [B, C, H, W], noised to every level with the same standard normal noise."""

    clean: Tensor
    noise: Tensor
    path: Path

    def at(self, sigma: Tensor) -> Tensor:
        return self.path.add_noise(self.clean, self.noise, sigma)

    def denoised_at(self, sigma: Tensor) -> Tensor:
        return self.clean


@dataclass(frozen=True)
class InvertedImage:
    """The states [N+1, B, C, H, W] of an inversion at ascending levels sigmas [N+1], interpolated linearly in between.

    Raises ValueError for a level above the highest one.
    """

    states: Tensor
    sigmas: Tensor
    path: Path

    @property
    def clean(self) -> Tensor:
        return self.path.to_unit(self.states[0], self.sigmas[0])

    def at(self, sigma: Tensor) -> Tensor:
        upper = self._upper(sigma)
        share = (sigma - self.sigmas[upper - 1]) / self._rise(upper)
        return torch.lerp(self.states[upper - 1], self.states[upper], share.clamp(0, 1))

    def denoised_at(self, sigma: Tensor) -> Tensor:
        upper = self._upper(sigma)
        slope = (self.states[upper] - self.states[upper - 1]) / self._rise(upper)
        return self.states[upper] - self.sigmas[upper] * slope

    def _upper(self, sigma: Tensor) -> int:
        """Index of the state at the noisy end of the segment that contains `sigma`; at least 1."""
        if float(sigma) > float(self.sigmas[-1]) * (1 + SAME_LEVEL):
            raise ValueError(
                f"the sampler is at sigma {float(sigma):.4f}, above the trajectory's highest level "
                f"{float(self.sigmas[-1]):.4f}; give the sampler the trajectory's own levels."
            )
        return max(1, int((self.sigmas < sigma * (1 - SAME_LEVEL)).sum()))

    def _rise(self, upper: int) -> Tensor:
        rise = self.sigmas[upper] - self.sigmas[upper - 1]
        # Two levels can be equal (terminal "first" with a grid that begins at that level); their slope counts as 0.
        return torch.where(rise > 0, rise, torch.inf)


def steps_of_strength(steps: int, strength: float) -> int:
    """The number of final steps that a strength of 0..1 runs: int(steps * strength), as in diffusers; 0 changes nothing.

    Raises ValueError for a strength outside 0..1.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; give 0 (changes nothing) to 1 (starts from pure noise).")
    return min(int(steps * strength), steps)


def masks_over_time(mask: Tensor, steps: int, over_time: MaskOverTime = "constant", dilations: int = 0) -> Tensor:
    """The mask before each of `steps` steps and, last, the mask of the final image: [N+1, B, 1, H, W].

    Args:
        mask: [B, 1, H, W] in 0..1.
        steps: N.
        over_time: "constant" uses the same mask at every step. "shrinking" is the progressive shrinking of Blended Latent
            Diffusion (Avrahami et al. 2023, arXiv 2206.02779, section 4.3): the mask dilated by squares of 3 + 2i latent
            pixels, with i from `dilations` - 1 down to 0, then the mask itself, each for an equal share of the steps. The wide
            masks of the early, noisy steps let the prompt take hold where a thin mask would be overruled by its surroundings.
            "change map" reads the mask as how much each pixel may change (Levin and Fried 2023, Differential Diffusion,
            arXiv 2306.00950): a pixel of value c is kept for the first (1 - c) N steps and free after that.
        dilations: used by "shrinking" only.

    Raises:
        ValueError: if `dilations` is negative.
    """
    if dilations < 0:
        raise ValueError(f"dilations is {dilations}; give 0 or more.")
    if over_time == "constant":
        return mask.expand(steps + 1, *mask.shape)
    if over_time == "change map":
        thresholds = (torch.arange(steps, -1, -1).to(mask) / steps).view(-1, 1, 1, 1, 1)
        return ((mask >= thresholds) & (mask > 0)).to(mask)
    sizes = [3 + 2 * index for index in reversed(range(dilations))] + [1]
    masks = [F.max_pool2d(mask, size, stride=1, padding=size // 2) for size in sizes]
    share = steps // len(masks) + 1
    return torch.stack([masks[min(step // share, dilations)] for step in range(steps)] + [mask])


def blend(x: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    """x where mask [B, 1, H, W] is 1 and `kept` where it is 0, exact at both ends."""
    return kept * (1 - mask) + x * mask


def blend_after_steps(
    background: Background, masks: Tensor, sigmas: Tensor, *, path: Path, legacy: bool = False, finished: bool = True
) -> AfterStep:
    """Blend after every step, as the reference implementations do, in a DDIM loop over `sigmas` [N+1].

    Args:
        background: the source of the unmasked area.
        masks: [N+1, B, 1, H, W], see `masks_over_time`.
        sigmas: [N+1], the levels of the loop.
        path: the path of the states.
        legacy: noise the unmasked area to the level before the step.
        finished: the last level is the final image, even if it is above sigma 0, so the clean latent itself is put back there.
            False leaves the noise in.
    """
    last = len(sigmas) - 2

    def after_step(step: int, x: Tensor) -> Tensor:
        sigma, sigma_next, mask = sigmas[step], sigmas[step + 1], masks[step + 1]
        clean = path.from_unit(background.clean, sigma_next)
        if legacy:
            too_noisy = path.from_unit(path.to_unit(background.at(sigma), sigma), sigma_next)
            x = blend(x, too_noisy, mask)
            return blend(x, clean, mask) if finished and step == last else x
        return blend(x, clean if finished and step == last else background.at(sigma_next), mask)

    return after_step


def blend_around_calls(denoise: Denoise, background: Background, masks: Tensor, sigmas: Tensor) -> Denoise:
    """Blend around every network call, for any sampler: blends both the network's input and its prediction.

    The unmasked area of the prediction moves the sampler's state along the background. With a binary mask and a first-order
    sampler this equals `blend_after_steps`; a soft mask blends the prediction instead of the state, which is close to it.
    """

    def blended(x: Tensor, sigma: Tensor) -> Tensor:
        mask = masks[step_at(sigmas, sigma)]
        return blend(denoise(blend(x, background.at(sigma), mask), sigma), background.denoised_at(sigma), mask)

    return blended
