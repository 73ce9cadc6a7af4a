"""Attention to words, and noise predictions, at the states of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..attention.local_blend import word_map
from ..inversion.trajectory import Trajectory
from ..samplers.path import direction
from .backbone import AttentionCall, LayerEdit, nearest_resolution
from .backbones import backbone_of
from .guided import Conditioning, Guidance, LoopRun, finite, run_loop
from .sampling_run import SamplingRun


def trajectory_levels(trajectory: Trajectory, cleanest: float, noisiest: float, count: int) -> list[int]:
    """At most `count` indices of states, evenly spaced between two positions from the image (0) to the noise (1)."""
    ends = torch.tensor([cleanest, noisiest]) * trajectory.steps
    chosen = torch.linspace(float(ends.min()), float(ends.max()), count).round().long().clamp(1, trajectory.steps)
    return sorted(set(chosen.tolist()))


def read_word_maps(
    model: ModelPatcher,
    trajectory: Trajectory,
    positive: Conditioning,
    tokens: Sequence[int],
    levels: Sequence[int],
) -> list[Tensor]:
    """The total attention [B, h, w] to the tokens: one map per resolution, summed over heads, layers and levels.

    It is read in the layers at a quarter of the latent's side and at twice that size.
    Raises ValueError for a model without a backbone that can be edited.
    """
    backbone = backbone_of(model)
    coarse = nearest_resolution(backbone.layers)
    reader = _MapReader(tuple(tokens))
    chosen = [layer for layer in backbone.layers if layer.resolution in (coarse, coarse - 1)]
    patched = backbone.install(model, None, reader, [LayerEdit(layer, "text", reader.read) for layer in chosen])
    _evaluate(patched, trajectory, positive, levels)
    return list(reader.maps.values())


def read_noise(model: ModelPatcher, trajectory: Trajectory, positive: Conditioning, levels: Sequence[int]) -> Tensor:
    """The noise that the model predicts at the states, [len(levels), B, C, H, W], from the noise end."""
    return _evaluate(model, trajectory, positive, levels)


def _evaluate(model: ModelPatcher, trajectory: Trajectory, positive: Conditioning, levels: Sequence[int]) -> Tensor:
    """The ODE's direction at each of the states under the prompt alone, [len(levels), B, C, H, W], from the noise end.

    Raises ValueError if the model overflows.
    """
    order = sorted(levels, reverse=True)
    sigmas = torch.cat([trajectory.sigmas[order], torch.zeros(1)])

    def loop(run: LoopRun) -> Tensor:
        directions: list[Tensor] = []
        for step, level in enumerate(order):
            x = model.model.process_latent_in(trajectory.latents[level]).to(run.latent)
            sigma = sigmas[step].to(run.latent)
            denoised = finite(run.denoise(x, sigma))
            run.report(step, x, sigma, denoised)
            directions.append(direction(x, denoised, sigma))
        return torch.stack(directions)

    directions, _ = run_loop(Guidance(model, positive, positive, 1.0), trajectory.latents[order[0]], sigmas, loop)
    return directions


@dataclass
class _MapReader:
    """Reads maps without changing anything; `maps` has the sums by layer resolution."""

    tokens: tuple[int, ...]
    maps: dict[int, Tensor] = field(default_factory=dict)
    run: SamplingRun = field(init=False)

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        self.run = run
        self.maps.clear()

    def end(self) -> None:
        pass

    def read(self, call: AttentionCall) -> None:
        self.run.require_whole_picture("attention maps", call.options)
        for first in (chunk * self.run.rows for chunk in self.run.positive_chunks(call.options)):
            maps = [
                word_map(call.text_probabilities(row), self.tokens).view(call.map_size)
                for row in range(first, first + self.run.rows)
            ]
            self.maps[call.layer.resolution] = self.maps.get(call.layer.resolution, 0) + torch.stack(maps)
