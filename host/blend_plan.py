"""What a blended run keeps: the source of the unmasked area, and the masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.trajectory import Trajectory
from ..samplers.blend_mask import checked_mask, require_painted
from ..samplers.blending import Background, InvertedImage, MaskOverTime, NoisedImage, Source, masks_over_time
from ..samplers.path import Path, RectifiedFlow
from ..samplers.schedule import SAME_LEVEL
from .model_facts import model_facts

Start = Literal["given", "noised image", "pure noise", "background"]
"""What a run begins from. "given": what the guider gives, its noise added to its latent; "noised image" and "pure noise": those
of the references; "background": all of the background at the first level, where an inverted image keeps its layout."""


@dataclass(frozen=True, kw_only=True)
class BlendPlan:
    """What a blended run keeps, and its source. Raises ValueError if the source needs a trajectory and there is none.

    Attributes:
        source: see `samplers.blending`.
        mask: MASK of any size, 1 where the image is repainted; or None, if only the LATENT's noise_mask counts.
        over_time, dilations: see `samplers.blending.masks_over_time`.
        trajectory: the background for the source "trajectory".
    """

    source: Source
    mask: Tensor | None
    over_time: MaskOverTime
    dilations: int
    trajectory: Trajectory | None

    def __post_init__(self) -> None:
        if self.source == "trajectory" and self.trajectory is None:
            raise ValueError("kept_from is 'trajectory', but there is no trajectory; connect DDIM Invert.")

    def start(self, strength: float, inherit_noise: bool) -> Start:
        """What a run of this strength starts from. Raises ValueError if there is no noise to inherit."""
        if inherit_noise:
            if self.source != "trajectory":
                raise ValueError(
                    f"inherit_noise is on, but kept_from is {self.source!r}, which has no inverted image to take noise "
                    "from; choose kept_from 'trajectory', or turn it off."
                )
            return "background"
        # legacy starts from the noised image at every strength, the newer pipeline from pure noise at strength 1.
        return "pure noise" if strength == 1 and self.source != "legacy" else "noised image"

    def background(
        self, model: ModelPatcher, sigmas: Tensor, noise: Tensor, latent: Tensor, path: Path, *, given_sigmas: bool
    ) -> Background:
        """The background at every level of a run from `noise` and `latent` [B, C, H, W] in the network's scale.

        `given_sigmas`: whether the run gets its SIGMAS from another node. Raises ValueError if the model, the latent or the levels
        do not fit the trajectory, or if there is no noise.
        """
        if self.source == "legacy" and isinstance(path, RectifiedFlow):
            raise ValueError(
                "kept_from is 'legacy', which noises the unmasked area by one level too much, as a pipeline for Stable Diffusion "
                "once did; the model is a flow, for which there is no such pipeline: choose 'matched' or 'trajectory'."
            )
        if self.source == "trajectory":
            assert self.trajectory is not None
            self.trajectory.require_model(model_facts(model))
            states, levels = self.trajectory.latents, self.trajectory.sigmas
            if states.shape[2:] != latent.shape[1:] or states.shape[1] not in (1, len(latent)):
                raise ValueError(
                    f"the latent has the shape {tuple(latent.shape)}, but the trajectory's is "
                    f"{tuple(states.shape[1:])}; give the latent that was inverted."
                )
            if float(sigmas[0]) > float(levels[-1]) * (1 + SAME_LEVEL):
                way_out = (
                    "the trajectory's own SIGMAS (Trajectory Latent)"
                    if given_sigmas
                    else f"{self.trajectory.inversion.inputs()}, its own"
                )
                raise ValueError(
                    f"the sigmas begin at {float(sigmas[0]):.4f}, above the trajectory's highest level "
                    f"{float(levels[-1]):.4f}; give {way_out}."
                )
            placed = torch.stack([model.model.process_latent_in(state) for state in states.to(latent)])
            return InvertedImage(placed, levels.to(latent), path)
        if not bool(noise.any()):
            raise ValueError(
                f"the run has no noise (DisableNoise), with which kept_from {self.source!r} noises the unmasked "
                "area to each level; use RandomNoise, or kept_from 'trajectory'."
            )
        return NoisedImage(latent, noise, path)

    def masks(self, steps: int, latent: Tensor, denoise_mask: Tensor | None) -> Tensor:
        """The masks of the N steps, [N+1, B, 1, (T,) H, W]: the plan's mask or the LATENT's noise_mask, whichever keeps more.

        Raises ValueError if there is neither, or if nothing would be repainted.
        """
        if self.mask is None and denoise_mask is None:
            raise ValueError("there is no mask; connect one, or give the latent one with Set Latent Noise Mask.")
        mask = _latent_mask(self.mask, latent)
        if denoise_mask is not None:
            mask = torch.minimum(mask, denoise_mask[:, :1].flatten(1, -3).to(mask))
        require_painted(
            mask,
            "paint on the image in Load Image's mask editor, or invert the mask (a noise_mask of the latent counts as well)",
        )
        masks = masks_over_time(mask, steps, self.over_time, self.dilations)
        return masks if latent.ndim == 4 else masks.unsqueeze(3)


def _latent_mask(mask: Tensor | None, latent: Tensor) -> Tensor:
    """A MASK of any size as [B, 1, h, w] for a latent [B, C, (1,) h, w]; all ones if there is none.

    The pixels of each latent pixel are averaged; a mask of the latent's size is used as it is. Raises ValueError if the batches
    differ and neither is 1.
    """
    batch, height, width = len(latent), *latent.shape[-2:]
    if mask is None:
        return latent.new_ones(batch, 1, height, width)
    planes = checked_mask(mask)[:, None].to(latent)
    if len(planes) not in (1, batch):
        raise ValueError(
            f"there are {len(planes)} masks for a latent batch of {batch}; give one mask, or one for each."
        )
    if planes.shape[2:] != (height, width):
        planes = F.interpolate(planes, (height, width), mode="area")
    return planes.expand(batch, 1, height, width)
