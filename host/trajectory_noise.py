"""A state of a trajectory for stock samplers: as a LATENT with leftover noise, or as NOISE for the clean image."""

from __future__ import annotations

import math
from typing import Any

import comfy.latent_formats
from torch import Tensor

from ..inversion.trajectory import Trajectory
from .latents import LEVEL, Latent, Level, with_samples
from .naming import named

SAME_IMAGE = 1e-2
"""Relative to the image's root mean square: another image is further away than a round trip through a latent format."""
SAME_MAXIMUM = 1e-5
"""ComfyUI takes a level that is so near to the model's highest one for it."""


def trajectory_state(carrier: Latent, trajectory: Trajectory, start_step: int) -> Latent:
    """The carrier with the state after skipping the `start_step` noisiest steps, which knows its level (see `require_level`).

    A LATENT with leftover noise holds x / a: ComfyUI scales it by a = 1 - sigma on a flow, and leaves it as it is on other models.
    Raises ValueError where a is 0, and for a flow in a latent space that ComfyUI does not know.
    """
    state, sigma = trajectory.latent_at(start_step), trajectory.remaining_sigmas(start_step)[0]
    a = trajectory.model.path.a(sigma)
    if float(a) == 0:
        raise ValueError(
            f"the state at sigma {float(sigma):g} is noise alone, with none of the image, which a LATENT with leftover noise "
            "cannot hold on a flow model; use Trajectory Noise, continue with Edit Sample, or take a later start_step."
        )
    if float(a) != 1:
        latent_format = _latent_format(trajectory)
        state = latent_format.process_out(latent_format.process_in(state) / a)
    latent = with_samples(carrier, state)
    latent[LEVEL] = Level(latent["samples"], float(sigma), trajectory.inversion.inputs(start_step))
    return latent


class TrajectoryNoise:
    """A NOISE from which ComfyUI, adding it to the clean image at the first of the remaining levels, makes a trajectory's state.

    It exists at every level, also at sigma 1 of a flow, where nothing of the image is left in the state. `node` is the one that
    made it, for messages.
    """

    seed = 0

    def __init__(self, trajectory: Trajectory, start_step: int, node: str) -> None:
        self.trajectory, self.node = trajectory, node
        self.noise = _noise_of_state(trajectory, start_step)
        self.needs_image = float(trajectory.model.path.a(trajectory.remaining_sigmas(start_step)[0])) != 0

    def generate_noise(self, input_latent: Latent) -> Tensor:
        """ComfyUI's interface. Raises ValueError for the latent of another image, which would give another state."""
        samples, image = input_latent["samples"], self.trajectory.image()
        with named(self.node):
            self.trajectory.require_latent_shape(samples.shape)
            missed = float((samples.to(image) - image).square().mean().sqrt() / image.square().mean().sqrt())
            if self.needs_image and not missed < SAME_IMAGE:
                raise ValueError(
                    "the latent_image is not the image that was inverted, and the noise fits no other one; connect the latent "
                    "output of Trajectory Noise."
                )
        return self.noise.to(samples)


def _noise_of_state(trajectory: Trajectory, start_step: int) -> Tensor:
    """[B, C, (T,) H, W] in the network's scale, in which ComfyUI adds noise.

    At a model's highest level ComfyUI weighs noise by c in place of b (on a flow they are the same, 1).
    """
    latent_format, path = _latent_format(trajectory), trajectory.model.path
    sigma, highest = trajectory.remaining_sigmas(start_step)[0], trajectory.model.sigma_table[-1]
    x, x0 = (latent_format.process_in(samples) for samples in (trajectory.latent_at(start_step), trajectory.image()))
    noise = path.noise_of(x, x0, sigma)
    is_highest = math.isclose(float(sigma), float(highest), rel_tol=SAME_MAXIMUM) or sigma > highest
    return noise * path.b(sigma) / path.c(sigma) if is_highest and path.a(sigma) == 1 else noise


def _latent_format(trajectory: Trajectory) -> Any:  # noqa: ANN401  (ComfyUI's)
    kind: Any = getattr(comfy.latent_formats, trajectory.model.latent_format, None)
    if kind is None:
        raise ValueError(
            f"the latent space {trajectory.model.latent_format!r} is not one of ComfyUI's, so that the state cannot be handed to "
            "a stock sampler; continue with Edit Sample."
        )
    return kind()
