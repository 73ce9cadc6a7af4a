"""Whether a trajectory from a file is usable: its tensors must fit together, and its facts must be those of an inversion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from ..samplers.prediction import Prediction
from ..samplers.schedule import Grid, Terminal
from .methods import METHODS
from .trajectory import Trajectory

# Messages quote names and digests, so those of a crafted file must not fill the screen.
LONGEST_TEXT = 100
LARGEST_NUMBER = 1e9


def problem_of(trajectory: Trajectory) -> str | None:
    """What makes the trajectory unusable, as a short clause; None if it is usable."""
    latents, sigmas, table = trajectory.latents, trajectory.sigmas, trajectory.model.sigma_table
    if latents.ndim not in (5, 6) or sigmas.shape != latents.shape[:1] or len(sigmas) < 2:
        return f"latents {tuple(latents.shape)} and sigmas {tuple(sigmas.shape)} do not fit together"
    if not _are_named(trajectory):
        return "its facts are not those of an inversion"
    if trajectory.inversion.steps != trajectory.steps or trajectory.residuals.shape != (trajectory.steps,):
        return f"it should have {trajectory.inversion.steps} steps and as many residuals"
    if any(tensor.dtype != torch.float32 for tensor in (latents, sigmas, trajectory.residuals, table)):
        return "its tensors are not float32"
    if not _ascends(sigmas) or table.ndim != 1 or len(table) < 2 or not _ascends(table):
        return "its sigmas do not ascend"
    if not latents.numel() or not bool(torch.isfinite(latents).all() and torch.isfinite(trajectory.residuals).all()):
        return "a latent is missing, NaN or infinite"
    if not _extras_fit(trajectory):
        return "its pairs, noise maps or null embeddings do not fit its steps and latents, or are not finite"
    if not _asks_fit(trajectory):
        return "its offsets do not fit its steps and latents, or are not finite"
    if not _can_be_continued(trajectory):
        method, settings = trajectory.inversion.method, ", ".join(trajectory.inversion.settings) or "none"
        return (
            f"its method {method!r} (settings: {settings:.{LONGEST_TEXT}}) cannot continue from its {trajectory.kind}"
        )
    return None


def _extras_fit(trajectory: Trajectory) -> bool:
    latents, steps, null_text = trajectory.latents, trajectory.steps, trajectory.null_text
    expected = [
        (trajectory.pairs, torch.float64, (steps + 1, 2, *latents.shape[1:])),
        (trajectory.noise_maps, torch.float32, (steps, *latents.shape[1:])),
    ]
    if null_text is not None:
        embeddings, pooled = null_text.embeddings, null_text.pooled
        expected.append((null_text.residuals, torch.float32, (steps, *latents.shape[1:])))
        expected.append((embeddings, torch.float32, (steps, *embeddings.shape[1:])))
        if pooled is not None:
            expected.append((pooled, torch.float32, (1, pooled.numel())))
        if embeddings.ndim != 3 or latents.shape[1] != 1 or not _is_number(null_text.cfg):
            return False
    return _are_as_expected(expected)


def _asks_fit(trajectory: Trajectory) -> bool:
    asks, shape = trajectory.asks, tuple(trajectory.latents[1:].shape)
    if asks is None:
        return True
    expected = [(tensor, torch.float32, shape) for tensor in (asks.offsets, asks.corrections)]
    expected.append((asks.levels, torch.float32, (trajectory.steps,)))
    return trajectory.kind == "plain" and _are_as_expected(expected) and bool((asks.levels > 0).all())


def _are_as_expected(expected: Sequence[tuple[Tensor | None, torch.dtype, tuple[int, ...]]]) -> bool:
    return all(
        tensor is None
        or (
            tensor.dtype == dtype
            and tuple(tensor.shape) == shape
            and tensor.numel() > 0
            and bool(torch.isfinite(tensor).all())
        )
        for tensor, dtype, shape in expected
    )


def _are_named(trajectory: Trajectory) -> bool:
    model, inversion, null_text = trajectory.model, trajectory.inversion, trajectory.null_text
    texts = (model.latent_format, model.weights, inversion.method, inversion.prompts)
    counts = (inversion.steps, inversion.fixed_point_iterations, inversion.unet_evaluations)
    return (
        model.prediction in get_args(Prediction)
        and inversion.spacing in get_args(Grid)
        and inversion.terminal in get_args(Terminal)
        and all(_is_text(text) for text in texts)
        and all(_is_number(count) and count >= 0 for count in counts)
        and _is_number(inversion.cfg)
        and (inversion.guidance is None or _is_number(inversion.guidance))
        and _is_number(model.noise_scale)
        and model.noise_scale > 0
        and isinstance(inversion.settings, dict)
        and all(_is_text(name) and _is_number(number) for name, number in inversion.settings.items())
        and (null_text is None or all(_is_text(name) for name in null_text.settings))
    )


def _can_be_continued(trajectory: Trajectory) -> bool:
    method, settings = METHODS.get(trajectory.inversion.method), trajectory.inversion.settings
    return (
        method is not None
        and method.stores == trajectory.kind
        and all(name in settings and method.settings[name].allows(settings[name]) for name in method.kept)
    )


def _is_text(value: Any) -> bool:  # noqa: ANN401  (whatever JSON held)
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float)) and -LARGEST_NUMBER < value < LARGEST_NUMBER


def _ascends(sigmas: Tensor) -> bool:
    return bool(torch.isfinite(sigmas).all()) and bool((sigmas[1:] >= sigmas[:-1]).all()) and float(sigmas[0]) >= 0
