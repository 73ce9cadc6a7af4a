"""One training loop for every model, resumable at any iteration, with the same losses as an uninterrupted run.

All random numbers come from a generator seeded with the stage's seed and the iteration, so no generator state has to be
saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module, int, torch.Generator], torch.Tensor]
"""(model, iteration, generator) -> loss."""


@dataclass(frozen=True)
class Plan:
    """How long and at what rate a stage learns; everything depends on the iteration, nothing on the clock."""

    name: str
    iterations: int
    learning_rate: float
    seed: int = 0
    warm_up: int = 100
    cool_down: int | None = None
    average_decay: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.01
    muon: bool = False
    """Whether the inner matrices learn by Muon (Jordan 2024) instead of AdamW."""
    save_every: int = 50
    log_every: int = 25
    look_every: int = 500

    def rate(self, iteration: int) -> float:
        """A linear warm-up, then half a cosine to zero; with a cool-down a constant, which falls to zero at the end."""
        start = min(1.0, (iteration + 1) / self.warm_up)
        if self.cool_down:
            return self.learning_rate * min(start, (self.iterations - iteration) / self.cool_down)
        return self.learning_rate * start * (1 + math.cos(math.pi * iteration / self.iterations)) / 2


def fit(
    plan: Plan,
    model: nn.Module,
    loss_of: Loss,
    folder: Path,
    report: Callable[[str], None],
    look: Callable[[nn.Module, int], None] = lambda average, iteration: None,
) -> nn.Module:
    """Train `model` in place, resuming from `folder` if a state was saved there; returns the moving average of its weights.

    Only parameters that require a gradient are trained, averaged and saved. `look` is called from time to time with the average.
    """
    state_file = folder / f"{plan.name}.state.pt"
    average = deepcopy(model).requires_grad_(False).eval()
    trained = [name for name, value in model.named_parameters() if value.requires_grad]
    weights, averaged = ([dict(each.named_parameters())[name] for name in trained] for each in (model, average))
    optimizer = Optimizer(plan, dict(zip(trained, weights, strict=True)))
    first = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        first = state["iteration"]
        for kept, live in ((state["weights"], weights), (state["average"], averaged)):
            for value, parameter in zip(kept, live, strict=True):
                parameter.data.copy_(value)
        optimizer.load_state(state["optimizer"])
        report(f"{plan.name}: goes on at iteration {first} of {plan.iterations}")
    total, counted, start = 0.0, 0, time.perf_counter()
    for iteration in range(first, plan.iterations):
        loss = loss_of(model, iteration, generator_of(plan.seed, iteration))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, plan.clip)
        optimizer.step(plan.rate(iteration))
        decay = min(plan.average_decay, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(averaged, [value.detach() for value in weights], 1 - decay)
        total, counted, done = total + loss.item(), counted + 1, iteration + 1
        if done % plan.log_every == 0 or done == plan.iterations:
            seconds = (time.perf_counter() - start) / counted
            report(
                f"{plan.name}: {done} of {plan.iterations}, loss {total / counted:.5f}, {seconds:.2f} s an iteration"
            )
            total, counted, start = 0.0, 0, time.perf_counter()
        if done % plan.save_every == 0 or done == plan.iterations:
            keep(
                {
                    "iteration": done,
                    "weights": [value.detach() for value in weights],
                    "average": averaged,
                    "optimizer": optimizer.state(),
                },
                state_file,
            )
        if done % plan.look_every == 0 or done == plan.iterations:
            with torch.no_grad():
                look(average, done)
    return average


class Optimizer:
    """AdamW; with `plan.muon`, Muon for the inner matrices and kernels and AdamW for what is left."""

    def __init__(self, plan: Plan, weights: dict[str, Tensor]) -> None:
        inner = {name for name, value in weights.items() if plan.muon and _is_inner(name, value)}
        self._weights = [value for name, value in weights.items() if name in inner]
        self._matrices = [nn.Parameter(_as_matrix(weight.data)) for weight in self._weights]
        rest = [value for name, value in weights.items() if name not in inner]
        decay = plan.weight_decay
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, plan.learning_rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
        ]
        if inner:
            # At AdamW's rates: each update is scaled to the size that AdamW's have.
            self._parts.append(
                torch.optim.Muon(self._matrices, plan.learning_rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            )

    def step(self, rate: float) -> None:
        """One step from the weights' gradients."""
        for matrix, weight in zip(self._matrices, self._weights, strict=True):
            assert weight.grad is not None
            matrix.grad = _as_matrix(weight.grad)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()

    def state(self) -> list[dict[str, object]]:
        return [part.state_dict() for part in self._parts]

    def load_state(self, state: list[dict[str, object]]) -> None:
        for part, kept in zip(self._parts, state, strict=True):
            part.load_state_dict(kept)


def _is_inner(name: str, value: Tensor) -> bool:
    return value.ndim in (2, 4) and not any(outer in name for outer in ("embedding", "conv_in", "conv_out"))


def _as_matrix(value: Tensor) -> Tensor:
    """[outputs, the rest], sharing the memory of a kernel in channels-last order."""
    return value.permute(0, 2, 3, 1).view(len(value), -1) if value.ndim == 4 else value


def generator_of(seed: int, iteration: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + iteration)


def keep(state: object, path: Path) -> None:
    """Write a file atomically."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
