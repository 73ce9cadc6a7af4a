"""The tasks, and who is asked to do each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import _side_diffusers as diffusers
import _side_loops as loops
import _side_nodes as nodes
import _side_published as published
import torch
from _contest import Contender
from _side_models import INNER_STEPS, TARGET, Pair, Task, encoded
from torch import Tensor, nn

OURS, THEIRS = "bare calls, ComfyUI's network", "bare calls, diffusers' network"
LOOP = "our loop, diffusers' network"


def inversion(pair: Pair, task: Task) -> list[Contender]:
    return [
        *bare_calls(pair, task, guided=False),
        Contender("diffusers", pair.theirs, diffusers.inversion(pair, task), THEIRS),
        Contender("core, euler on flipped sigmas", pair.network, nodes.core_inversion(pair, task), OURS),
        Contender(LOOP, pair.theirs, loops.inversion(pair, task), THEIRS),
        Contender("ours", pair.network, nodes.inversion(pair, task), OURS),
    ]


def sampling(pair: Pair, task: Task) -> list[Contender]:
    return [
        *bare_calls(pair, task),
        Contender("diffusers", pair.theirs, diffusers.sampling(pair, task), THEIRS),
        Contender("diffusers, pipeline", pair.theirs, diffusers.pipeline(pair, task), THEIRS),
        Contender("core", pair.network, nodes.core_sampling(pair, task), OURS),
        Contender(LOOP, pair.theirs, loops.sampling(pair, task), THEIRS),
        Contender("ours", pair.network, nodes.sampling(pair, task), OURS),
    ]


def inpainting(pair: Pair, task: Task) -> list[Contender]:
    return [
        *bare_calls(pair, task),
        Contender("diffusers", pair.theirs, diffusers.inpainting(pair, task), THEIRS),
        Contender("core", pair.network, nodes.core_inpainting(pair, task), OURS),
        Contender("ours", pair.network, nodes.inpainting(pair, task), OURS),
    ]


def null_text(pair: Pair, task: Task) -> list[Contender]:
    """The bare passes are those of the published method, on diffusers' network: ComfyUI's loads weights without gradients."""
    return [
        Contender(THEIRS, pair.theirs, bare_null_text(pair, task), THEIRS),
        Contender("diffusers", pair.theirs, published.null_text(pair, task), THEIRS),
        Contender("ours, reference", pair.network, nodes.null_text(pair, task, "reference"), THEIRS),
        Contender("ours, fast", pair.network, nodes.null_text(pair, task, "fast"), THEIRS),
    ]


def prompt_to_prompt(pair: Pair, task: Task) -> list[Contender]:
    run = published.prompt_to_prompt(pair, task, encoded(pair.clip, TARGET))
    return [
        *bare_calls(pair, replace(task, clean=task.clean.repeat(2, 1, 1, 1))),
        Contender("diffusers", pair.theirs, run, THEIRS),
        Contender("ours", pair.network, nodes.prompt_to_prompt(pair, task), OURS),
    ]


ROWS: Mapping[str, Callable[[Pair, Task], list[Contender]]] = {
    "inversion": inversion,
    "sampling": sampling,
    "inpainting": inpainting,
    "null-text": null_text,
    "prompt-to-prompt": prompt_to_prompt,
}
ONE_PICTURE = ("null-text", "prompt-to-prompt")
OF_ANY_LAYOUT = ("inversion", "sampling", "inpainting")
"""The others need a text encoder, or more time than there is."""
NOT_GROWN = (THEIRS, "diffusers, pipeline", LOOP)
"""The contenders at sampling whose growth is not measured."""


def bare_calls(pair: Pair, task: Task, guided: bool = True) -> Sequence[Contender]:
    """The network calls of a run on one state, with nothing between them: once for each of the two networks."""
    prompts = (pair.negative, pair.positive) if guided else (pair.positive,)
    context = torch.cat([each.expand(task.rows, -1, -1) for each in prompts])
    x = task.clean.repeat(len(prompts), 1, 1, 1)
    levels = torch.full((len(x),), 500, device=x.device)

    def run(network: nn.Module, **given: object) -> Tensor:
        for _ in range(task.steps):
            network(x, levels, **given)
        return x

    return [
        Contender(OURS, pair.network, partial(run, pair.network, context=context), OURS),
        Contender(THEIRS, pair.theirs, partial(run, pair.theirs, encoder_hidden_states=context), THEIRS),
    ]


def bare_null_text(pair: Pair, task: Task) -> Callable[[], Tensor]:
    """The passes of the published loop: for each step one, INNER_STEPS of them forward and back, and one of two rows."""
    with torch.inference_mode(False):
        x, context = task.clean.clone(), pair.positive.clone()
    two, both, t = x.repeat(2, 1, 1, 1), context.repeat(2, 1, 1), torch.tensor(500, device=x.device)

    def run() -> Tensor:
        for _ in range(task.steps):
            pair.theirs(x, t, context)
            with torch.inference_mode(False), torch.enable_grad():
                for _ in range(INNER_STEPS):
                    leaf = context.clone().requires_grad_(True)
                    pair.theirs(x, t, leaf).sample.sum().backward()
            pair.theirs(two, t, both)
        return x

    return run
