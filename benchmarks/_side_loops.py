"""The tasks with this pack's loops around diffusers' network, without ComfyUI: as in scripts/invert_with_diffusers.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from _host import ROOT
from _side_diffusers import SCHEDULE
from _side_models import Pair, Task
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

sys.path.insert(0, str(ROOT / "scripts"))
Run = Callable[[], Tensor]


def inversion(pair: Pair, task: Task) -> Run:
    """All states [N + 1, B, 4, H, W]."""
    from retrace_pack.inversion.ddim import invert_ddim  # pyright: ignore[reportMissingImports]
    from retrace_pack.samplers.path import VarianceExploding  # pyright: ignore[reportMissingImports]

    path, table = VarianceExploding(), sigma_table()
    denoise = denoiser(pair.theirs, pair.positive, table)

    def run() -> Tensor:
        sigmas = schedule(table, task).ascending_sigmas
        found = invert_ddim(denoise, task.clean, sigmas, path=path)
        return found.states / (1 + sigmas.view(-1, 1, 1, 1, 1) ** 2).sqrt()

    return run


def sampling(pair: Pair, task: Task) -> Run:
    from retrace_pack.samplers.ddim import sample_ddim  # pyright: ignore[reportMissingImports]

    table = sigma_table()
    prompts = torch.cat([each.expand(task.rows, -1, -1) for each in (pair.negative, pair.positive)])
    both = denoiser(pair.theirs, prompts, table)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        empty, full = both(torch.cat([x, x]), sigma).chunk(2)
        return empty + task.cfg * (full - empty)

    def run() -> Tensor:
        sigmas = schedule(table, task).sigmas
        return sample_ddim(denoise, task.noise * (1 + sigmas[0] ** 2).sqrt(), sigmas)

    return run


def schedule(table: Tensor, task: Task) -> Any:  # noqa: ANN401  (the pack's Schedule)
    from retrace_pack.samplers.schedule import make_schedule  # pyright: ignore[reportMissingImports]

    return make_schedule(table, task.steps)


def sigma_table() -> Tensor:
    from retrace_pack.samplers.noise_levels import sigmas_from_alphas_cumprod  # pyright: ignore[reportMissingImports]

    return sigmas_from_alphas_cumprod(DDIMScheduler(**SCHEDULE).alphas_cumprod)


def denoiser(unet: Any, context: Tensor, table: Tensor) -> Callable[[Tensor, Tensor], Tensor]:  # noqa: ANN401
    """denoise(x, sigma) -> x0 of diffusers' network under prompts."""
    from invert_with_diffusers import denoiser  # pyright: ignore[reportMissingImports]

    return denoiser(unet, context, table, "epsilon")
