"""The methods of reconstruction: how each makes its trajectory, and how the trajectory is continued."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from _host import encode_texts
from _still_lifes import Case as Edit
from torch import Tensor

STEPS, CFG = 50, 7.5


@dataclass(frozen=True)
class Case:
    """A loaded checkpoint and the photos to reconstruct, each with an edit."""

    model: Any
    clip: Any
    vae: Any
    edits: list[Edit]
    pictures: Tensor
    samples: Tensor
    cfg: float = CFG

    def prompts(self, texts: list[str]) -> list[list[Any]]:
        return encode_texts(self.clip, texts)

    @property
    def source(self) -> list[list[Any]]:
        return self.prompts([case.edit.before for case in self.edits])

    @property
    def empty(self) -> list[list[Any]]:
        return self.prompts([""] * len(self.edits))

    def part(self, chosen: slice) -> Case:
        return replace(self, edits=self.edits[chosen], pictures=self.pictures[chosen], samples=self.samples[chosen])


@dataclass(frozen=True)
class Prepared:
    """A trajectory and the conditioning to continue it with."""

    trajectory: Any
    negative: Any
    cfg: float
    work: int
    model: Any
    source: Any = None
    graph_bytes: int = 0
    align: str = "auto"


Prepare = Callable[[Case], Prepared]


def methods() -> Iterator[tuple[str, Prepare, bool]]:
    """Name, preparation, and whether it can prepare a whole batch."""
    yield "DDIM at cfg 1", lambda part: plain(part, cfg=1.0), True
    yield "DDIM", plain, True
    yield "aligned, at cfg 1", lambda part: replace(plain(part, cfg=1.0), align="on"), True
    yield "aligned", lambda part: replace(plain(part), align="on"), True
    yield "negative-prompt inversion", negative_prompt, True
    yield "negative-prompt inversion, 4 iterations", lambda part: negative_prompt(part, 4), True
    yield "proximal guidance on it", proximal, True
    yield "direct inversion (source held)", lambda part: replace(plain(part), source=part.source), False
    yield "edit-friendly DDPM", lambda part: edit_friendly(part, "ddpm", STEPS), True
    yield "edit-friendly DPM++ 2M, 20 steps", lambda part: edit_friendly(part, "dpm++ 2m", 20), True
    for method in ("o-belm", "bdia", "edict"):
        yield method, lambda part, method=method: exact(part, method), True
        yield f"{method}, all at cfg 1", lambda part, method=method: exact(part, method, 1.0), True
    yield "null-text, fast", lambda part: null_text(part, "fast"), False
    yield "null-text, fast, residual, 2 inner steps", lambda part: null_text(part, "fast", 2, True), False
    yield "null-text, fast, from the source prompt", lambda part: null_text(part, "fast", start=part.source), False
    yield "null-text, reference", lambda part: null_text(part, "reference"), False


def plain(part: Case, cfg: float | None = None, iterations: int = 0) -> Prepared:
    from node_call import run_node
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    trajectory = run_node(
        RetraceDDIMInvert,
        model=part.model,
        positive=part.source,
        negative=part.empty,
        latent={"samples": part.samples},
        steps=STEPS,
        fixed_point_iterations=iterations,
    ).result[0]
    return Prepared(
        trajectory, part.empty, part.cfg if cfg is None else cfg, trajectory.inversion.unet_evaluations, part.model
    )


def negative_prompt(part: Case, iterations: int = 0) -> Prepared:
    return replace(plain(part, iterations=iterations), negative=part.source)


def proximal(part: Case) -> Prepared:
    from node_call import run_node
    from retrace_pack.nodes.proximal_guidance import RetraceProximalGuidance  # pyright: ignore[reportMissingImports]

    model = run_node(RetraceProximalGuidance, model=part.model).result[0]
    return replace(negative_prompt(part), model=model)


def exact(part: Case, method: str, cfg: float | None = None) -> Prepared:
    from node_call import run_node
    from retrace_pack.nodes.exact_inversion import RetraceExactInvert  # pyright: ignore[reportMissingImports]

    cfg = part.cfg if cfg is None else cfg
    trajectory = run_node(
        RetraceExactInvert,
        model=part.model,
        positive=part.source,
        negative=part.empty,
        latent={"samples": part.samples},
        method=method,
        steps=STEPS,
        cfg=cfg,
    ).result[0]
    return Prepared(trajectory, part.empty, cfg, trajectory.inversion.unet_evaluations, part.model)


def edit_friendly(part: Case, solver: str, steps: int) -> Prepared:
    from node_call import run_node
    from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert  # pyright: ignore[reportMissingImports]

    trajectory = run_node(
        RetraceEditFriendlyInvert,
        model=part.model,
        positive=part.source,
        negative=part.empty,
        latent={"samples": part.samples},
        steps=steps,
        cfg=part.cfg,
        solver=solver,
    ).result[0]
    return Prepared(trajectory, part.empty, part.cfg, trajectory.inversion.unet_evaluations, part.model)


def null_text(part: Case, method: str, inner: int = 10, residual: bool = False, start: Any = None) -> Prepared:  # noqa: ANN401
    from retrace_pack.host.guided import Guidance  # pyright: ignore[reportMissingImports]
    from retrace_pack.host.null_text import optimize  # pyright: ignore[reportMissingImports]
    from retrace_pack.inversion.null_text import NullTextOptions  # pyright: ignore[reportMissingImports]

    begun = plain(part)
    guidance = Guidance(part.model, part.source, start or part.empty, part.cfg)
    options = NullTextOptions(cfg=part.cfg, inner_steps=inner, keep_residual=residual)
    graphs = SavedBytes(part.model.model)
    with torch.autograd.graph.saved_tensors_hooks(graphs.pack, lambda kept: kept):
        trajectory, found = optimize(guidance, begun.trajectory, options, method, graphs.next_pass)
    return replace(
        begun, trajectory=trajectory, negative=None, work=begun.work + found.unet_work, graph_bytes=graphs.largest
    )


class SavedBytes:
    """Counts the bytes that autograd saves in one pass, excluding the weights."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        self.seen: dict[int, int] = {}
        self.largest = 0

    def pack(self, kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.seen[storage.data_ptr()] = storage.nbytes()
        # The tensor itself and the graph would keep each other alive if no backward pass follows.
        return kept.detach()

    def next_pass(self, *told: object) -> None:
        self.largest = max(self.largest, sum(self.seen.values()))
        self.seen.clear()


def continued(prepared: Prepared, positive: list[list[Any]], start: float) -> tuple[Tensor, int]:
    """Latents of the continuation from a fraction of the steps (including the held source, if any), and its UNet work."""
    from node_call import run_node
    from retrace_pack.nodes.editing import RetraceEditSample  # pyright: ignore[reportMissingImports]

    trajectory = prepared.trajectory
    first = round(start * trajectory.steps)
    latent, source = run_node(
        RetraceEditSample,
        model=prepared.model,
        trajectory=trajectory,
        positive=positive,
        cfg=prepared.cfg,
        start_step=first,
        negative=prepared.negative,
        source=prepared.source,
        align=prepared.align,
    ).result
    passes = (trajectory.steps - first) * (1 if prepared.cfg == 1 else 2) * (2 if prepared.source else 1)
    if trajectory.inversion.method == "edict":
        passes *= 2
    return (source if prepared.source and start == 0 else latent)["samples"], passes


def trajectory_bytes(trajectory: Any) -> int:  # noqa: ANN401
    null_text = trajectory.null_text
    tensors = [trajectory.latents, trajectory.pairs, trajectory.noise_maps]
    if trajectory.asks is not None:
        tensors += [trajectory.asks.offsets, trajectory.asks.corrections]
    if null_text is not None:
        tensors += [null_text.embeddings, null_text.residuals]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
