"""Null-text optimization and prompt-to-prompt as published, rewritten from the authors' code for diffusers' network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from _side_diffusers import SCHEDULE, inversion
from _side_models import CROSS_STEPS, INNER_STEPS, SELF_STEPS, Pair, Task
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

Run = Callable[[], Tensor]


def null_text(pair: Pair, task: Task) -> Run:
    """The losses [N * INNER_STEPS] (Mokady et al. 2023, arXiv 2211.09794), without an early stop."""
    with torch.inference_mode(False):
        scheduler: Any = DDIMScheduler(**SCHEDULE)
        pivots, positive, negative = (each.clone() for each in (inversion(pair, task)(), pair.positive, pair.negative))

    def run() -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            scheduler.set_timesteps(task.steps, pivots.device)
            z, null, losses = pivots[-1], negative, []
            for i, t in enumerate(scheduler.timesteps):
                null = null.clone().detach().requires_grad_(True)
                optimizer = torch.optim.Adam([null], lr=1e-2 * (1.0 - i / 100.0))
                with torch.no_grad():
                    eps_text = pair.theirs(z, t, positive).sample
                for _ in range(INNER_STEPS):
                    eps_null = pair.theirs(z, t, null).sample
                    eps = eps_null + task.cfg * (eps_text - eps_null)
                    loss = F.mse_loss(scheduler.step(eps, t, z).prev_sample, pivots[len(pivots) - 2 - i])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    losses.append(loss.item())
                with torch.no_grad():
                    eps_null, eps_text = pair.theirs(torch.cat([z, z]), t, torch.cat([null, positive])).sample.chunk(2)
                    z = scheduler.step(eps_null + task.cfg * (eps_text - eps_null), t, z).prev_sample
        return torch.tensor(losses)

    return run


@dataclass
class Replacement:
    """Attention for rows [source, target] in two halves: the conditional target takes the source's maps (Hertz et al. 2022,
    arXiv 2208.01626). Maps are written out in the steps that edit them; in the others torch's fused attention is used.

    Attributes:
        mapper, alphas: [77, 77] and [77], which token goes where, and how far.
        cross_steps, self_steps: how many steps are edited.
    """

    mapper: Tensor
    alphas: Tensor
    cross_steps: int
    self_steps: int
    step: int = 0

    def __call__(
        self,
        attn: Any,  # noqa: ANN401  (diffusers' Attention)
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: object,
    ) -> Tensor:
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            each.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for each in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        if self.step < (self.self_steps if encoder_hidden_states is None else self.cross_steps):
            maps = (q @ k.transpose(-1, -2) * attn.scale).softmax(-1)
            source, target = maps[len(maps) // 2 :].chunk(2)
            if encoder_hidden_states is None:
                target.copy_(source)
            else:
                target.copy_(source @ self.mapper * self.alphas + target * (1 - self.alphas))
            out = maps @ v
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


def prompt_to_prompt(pair: Pair, task: Task, target: Tensor) -> Run:
    """One word replaced: source and target [2, 4, H, W]; `target` is the encoded prompt [1, 77, D]."""
    scheduler: Any = DDIMScheduler(**SCHEDULE)
    unet: Any = pair.theirs
    context = torch.cat([pair.negative, pair.negative, pair.positive, target])
    tokens, counts = context.shape[1], [round(share * task.steps) for share in (CROSS_STEPS, SELF_STEPS)]
    plain = AttnProcessor2_0()

    def run() -> Tensor:
        scheduler.set_timesteps(task.steps, task.clean.device)
        edit = Replacement(torch.eye(tokens).to(context), torch.ones(tokens).to(context), *counts)
        unet.set_attn_processor(edit)
        x = task.noise.repeat(2, 1, 1, 1)
        for t in scheduler.timesteps:
            empty, full = unet(torch.cat([x, x]), t, context).sample.chunk(2)
            x = scheduler.step(empty + task.cfg * (full - empty), t, x).prev_sample
            edit.step += 1
        unet.set_attn_processor(plain)
        return x

    return run
