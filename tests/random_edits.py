"""Prompt-to-Prompt edits of random prompts and the sampling of their rows on random weights, for tests of attention."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from random_models import random_conditioning
from retrace_pack.attention.alignment import Alignment
from retrace_pack.attention.controllers import CrossEdit
from retrace_pack.attention.local_blend import LocalBlend
from retrace_pack.attention.prompt_edit import PromptEdit
from retrace_pack.host.backbone import QUARTER
from retrace_pack.host.prompt_to_prompt import patch_prompt_to_prompt

STEPS, TOKENS = 4, 77
BLEND = LocalBlend(words=((3,), (3, 4)), subtracted=((), ()), start=0.0)


def cross_edit(cross: float = 1.0, seed: int | None = None, tokens: int = TOKENS) -> CrossEdit:
    """Every word onto itself, or mixed at random by the seed."""
    mapper = torch.eye(TOKENS, tokens)
    if seed is not None:
        mapper = torch.rand(TOKENS, tokens, generator=torch.Generator().manual_seed(seed)).softmax(0)
    ones = torch.ones(tokens)
    return CrossEdit(Alignment(mapper, ones), ones, torch.full((tokens,), cross, dtype=torch.float64))


def edit(cross: float = 1.0, own: float = 1.0, seed: int | None = None, blend: LocalBlend | None = None) -> PromptEdit:
    """The edit of one target; cross and own are the shares of the steps in which it acts on cross- and self-attention."""
    return PromptEdit((TOKENS, TOKENS), (cross_edit(cross, seed),), own, blend)


def p2p(model: ModelPatcher, changes: PromptEdit, resolution: int = 0, blend_resolution: int = QUARTER) -> ModelPatcher:
    """A clone that edits; self-attention where the latent was halved at least `resolution` times."""
    return patch_prompt_to_prompt(model, changes, resolution, blend_resolution, "Prompt to Prompt")


def rows(model: ModelPatcher, *seeds: int) -> list[list[Any]]:
    """One CONDITIONING whose rows are random prompts."""
    single = [random_conditioning(model, seed)[0] for seed in seeds]
    return [
        [
            torch.cat([each[0] for each in single]),
            {"pooled_output": torch.cat([each[1]["pooled_output"] for each in single])},
        ]
    ]


def sample(
    model: ModelPatcher,
    positive: list[list[Any]],
    samples: torch.Tensor,
    negative_tokens: int = TOKENS,
    **of_the_negative: Any,
) -> torch.Tensor:
    """ComfyUI's Euler from the samples as they are, against a random negative of that many tokens with these settings."""
    ((embedding, settings),) = random_conditioning(model, 9)
    negative = [[embedding.repeat(1, negative_tokens // TOKENS, 1), {**settings, **of_the_negative}]]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", STEPS)
    euler = comfy.samplers.sampler_object("euler")
    zero = torch.zeros_like(samples)
    return comfy.sample.sample_custom(model, zero, 3.0, euler, sigmas, positive, negative, samples, disable_pbar=True)


def twins(height: int = 16, width: int = 16, count: int = 2) -> torch.Tensor:
    """Equal rows of noise."""
    single = 14 * torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(0))
    return single.repeat(count, 1, 1, 1)


def strangers() -> torch.Tensor:
    """Two rows of different noise."""
    return 14 * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))
