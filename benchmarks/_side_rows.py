"""The tasks, and who is asked to do each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import _side_diffusers as diffusers
import _side_loops as loops
import _side_nodes as nodes
import torch
from _contest import Contender
from _side_models import Pair, Task
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


ROWS: dict[str, Callable[[Pair, Task], list[Contender]]] = {"inversion": inversion, "sampling": sampling}


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
