"""Which way gives an image back under guidance, what it costs, and what it leaves of the edit.

    python dev.py bench reconstruction [--scenes 64] [--checkpoint tiny_sd15] [--plot FILE]

Held-out scenes of the miniature checkpoints, 50 steps, cfg 7.5. PSNR (dB) is that of the decoded reconstruction against the
VAE's own round trip and against the image; MSE is that of the latent. UNet work counts a forward pass 1 and a backward pass
2, for one image, inversion and reconstruction together. "kept" is what the trajectory holds, "graph" what autograd keeps of
one pass. "all at cfg 1" inverts and rebuilds there, and edits at 7.5. The edit changes the object's colour, from step 10 of
50: how often a judge by pixels reads the new colour, and the PSNR outside the object against the VAE round trip.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _host import CHECKPOINTS, encode_texts, environment, held_out_scenes, load_tiny, prepare
from torch import Tensor

STEPS, CFG, EDIT_START = 50, 7.5, 0.2
WINDOW = ("leading", "clean")
COLUMNS = (
    "method", "to VAE round trip", "to image", "latent MSE", "UNet work", "s an image", "kept MB", "graph MB",
    "colour changed", "outside the object",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A loaded checkpoint with the scenes to rebuild."""

    model: Any
    clip: Any
    vae: Any
    scenes: list[Any]
    pictures: Tensor
    samples: Tensor

    def prompts(self, texts: list[str]) -> list[list[Any]]:
        return encode_texts(self.clip, texts)

    @property
    def source(self) -> list[list[Any]]:
        return self.prompts([scene.caption for scene in self.scenes])

    @property
    def empty(self) -> list[list[Any]]:
        return self.prompts([""] * len(self.scenes))

    def alone(self, index: int) -> Case:
        one = slice(index, index + 1)
        return replace(self, scenes=self.scenes[one], pictures=self.pictures[one], samples=self.samples[one])


@dataclass(frozen=True)
class Prepared:
    """A trajectory with what it is continued under."""

    trajectory: Any
    negative: Any
    cfg: float
    work: int
    model: Any
    source: Any = None
    graph_bytes: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, action="append")
    parser.add_argument("--only", default="", help="only methods whose name holds this")
    parser.add_argument("--plot", type=Path, help="write the fidelity of every method over its work as a picture here")
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.scenes} held-out scenes, {STEPS} steps, cfg {CFG}")
    rows: list[tuple[str, str, float, float]] = []
    for name in options.checkpoint or CHECKPOINTS:
        print(f"\n{name}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
        with torch.inference_mode():
            model, clip, vae = load_tiny(name)
            scenes, pictures = held_out_scenes(options.scenes, seed=3)
            case = Case(model, clip, vae, scenes, pictures, vae.encode(pictures))
            for method, prepared, batched in methods(case):
                if options.only not in method:
                    continue
                line, fidelity, work = measure(case, prepared, batched)
                rows.append((name, method, fidelity, work))
                print(f"| {method} | {line} |", flush=True)
    if options.plot:
        plot(rows, options.plot)


Prepare = Callable[[Case], Prepared]


def methods(case: Case) -> Iterator[tuple[str, Prepare, bool]]:
    """Name, how it is prepared, and whether a whole batch can be."""
    yield "DDIM at cfg 1", lambda part: plain(part, cfg=1.0), True
    yield "DDIM", plain, True
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


def plain(part: Case, cfg: float = CFG, iterations: int = 0) -> Prepared:
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    trajectory = RetraceDDIMInvert.execute(
        part.model, part.source, part.empty, {"samples": part.samples}, STEPS, 1.0, iterations, *WINDOW
    ).result[0]
    return Prepared(trajectory, part.empty, cfg, trajectory.inversion.unet_evaluations, part.model)


def negative_prompt(part: Case, iterations: int = 0) -> Prepared:
    return replace(plain(part, iterations=iterations), negative=part.source)


def proximal(part: Case) -> Prepared:
    from retrace_pack.nodes.reconstruction import RetraceProximalGuidance  # pyright: ignore[reportMissingImports]

    model = RetraceProximalGuidance.execute(part.model, "soft", 0.7).result[0]
    return replace(negative_prompt(part), model=model)


def exact(part: Case, method: str, cfg: float = CFG) -> Prepared:
    from retrace_pack.nodes.exact_inversion import RetraceExactInvert  # pyright: ignore[reportMissingImports]

    trajectory = RetraceExactInvert.execute(
        part.model, part.source, part.empty, {"samples": part.samples}, method, STEPS, cfg, 0.93, 1.0, *WINDOW
    ).result[0]
    return Prepared(trajectory, part.empty, cfg, trajectory.inversion.unet_evaluations, part.model)


def edit_friendly(part: Case, solver: str, steps: int) -> Prepared:
    from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert  # pyright: ignore[reportMissingImports]

    trajectory = RetraceEditFriendlyInvert.execute(
        part.model, part.source, part.empty, {"samples": part.samples}, 0, steps, CFG, solver, 1.0, *WINDOW
    ).result[0]
    return Prepared(trajectory, part.empty, CFG, trajectory.inversion.unet_evaluations, part.model)


def null_text(part: Case, method: str, inner: int = 10, residual: bool = False, start: Any = None) -> Prepared:  # noqa: ANN401
    from retrace_pack.host.guided import Guidance  # pyright: ignore[reportMissingImports]
    from retrace_pack.host.null_text import optimize  # pyright: ignore[reportMissingImports]
    from retrace_pack.inversion.null_text import NullTextOptions  # pyright: ignore[reportMissingImports]

    begun = plain(part)
    guidance = Guidance(part.model, part.source, start or part.empty, CFG)
    options = NullTextOptions(CFG, inner, keep_residual=residual)
    graphs = SavedBytes(part.model.model)
    with torch.autograd.graph.saved_tensors_hooks(graphs.pack, lambda kept: kept):
        trajectory, found = optimize(guidance, begun.trajectory, options, method, graphs.next_pass)
    return replace(
        begun, trajectory=trajectory, negative=None, work=begun.work + found.unet_work, graph_bytes=graphs.largest
    )


class SavedBytes:
    """Counts what autograd keeps of one pass, without the weights."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        self.seen: dict[int, int] = {}
        self.largest = 0

    def pack(self, kept: Tensor) -> Tensor:
        storage = kept.untyped_storage()
        if storage.data_ptr() not in self.weights:
            self.seen[storage.data_ptr()] = storage.nbytes()
        return kept

    def next_pass(self, *told: object) -> None:
        self.largest = max(self.largest, sum(self.seen.values()))
        self.seen.clear()


def measure(case: Case, prepare_part: Prepare, batched: bool) -> tuple[str, float, float]:
    """The row of one method, its mean PSNR to the round trip, and its work for one image."""
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    parts = [case] if batched else [case.alone(index) for index in range(len(case.scenes))]
    rebuilt, edited, works, seconds, kept, graph = [], [], [], 0.0, 0, 0
    for part in parts:
        started = time.perf_counter()
        prepared = prepare_part(part)
        latents, work = continued(prepared, part.source, 0.0)
        seconds += time.perf_counter() - started
        rebuilt.append(latents)
        works.append(prepared.work + work)
        kept += trajectory_bytes(prepared.trajectory)
        graph = max(graph, prepared.graph_bytes)
        edited.append(edit(part, prepared))
    latents = torch.cat(rebuilt)
    roundtrip, decoded = case.vae.decode(case.samples), case.vae.decode(latents)
    fidelity = compare_images(decoded, roundtrip).mean_psnr
    mse = float((latents - case.samples).square().mean())
    changed, outside = judge_edits(case, case.vae.decode(torch.cat(edited)), roundtrip)
    count, work = len(case.scenes), float(np.mean(works))
    cells = (
        f"{fidelity:.2f}", f"{compare_images(decoded, case.pictures).mean_psnr:.2f}", f"{mse:.1e}", f"{work:.0f}",
        f"{seconds / count:.1f}", f"{kept / count / 2**20:.2f}", f"{graph / 2**20:.0f}" if graph else "-",
        f"{100 * changed:.0f} %", f"{outside:.2f}",
    )  # fmt: skip
    return " | ".join(cells), fidelity, work


def continued(prepared: Prepared, positive: list[list[Any]], start: float) -> tuple[Tensor, int]:
    """Latents of the continuation from a share of the steps (those of the held source where one is), and its work."""
    from retrace_pack.nodes.editing import RetraceEditSample  # pyright: ignore[reportMissingImports]

    trajectory = prepared.trajectory
    first = round(start * trajectory.steps)
    latent, source = RetraceEditSample.execute(
        prepared.model, trajectory, positive, prepared.cfg, first, True, 0.0, 400, 0.7, 1, prepared.negative,
        prepared.source,
    ).result  # fmt: skip
    passes = (trajectory.steps - first) * (1 if prepared.cfg == 1 else 2) * (2 if prepared.source else 1)
    if trajectory.inversion.method == "edict":
        passes *= 2
    return (source if prepared.source and start == 0 else latent)["samples"], passes


def edit(part: Case, prepared: Prepared) -> Tensor:
    """Latents of the scenes with the next colour of the palette, at the guidance of the table."""
    targets = part.prompts([recoloured(scene).caption for scene in part.scenes])
    return continued(replace(prepared, cfg=CFG), targets, EDIT_START)[0]


def recoloured(scene: Any) -> Any:  # noqa: ANN401
    import scenes

    colours = [colour for colour in scenes.PALETTE if colour != scene.background]
    after = colours[(colours.index(scene.objects[0].colour) + 1) % len(colours)]
    return scene.with_object(0, colour=after)


def judge_edits(case: Case, edited: Tensor, roundtrip: Tensor) -> tuple[float, float]:
    """The share of pictures with the new colour, and the mean PSNR outside the object."""
    import scenes
    from judge import judge

    hits, outside = [], []
    for scene, picture, before in zip(case.scenes, edited, roundtrip, strict=True):
        shown = (picture.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
        hits.append(judge(shown).colour == recoloured(scene).objects[0].colour)
        background = torch.from_numpy(~scenes.object_mask(scene))
        error = (picture.clamp(0, 1) - before.clamp(0, 1))[background].square().mean()
        outside.append(-10 * float(torch.log10(error)))
    return float(np.mean(hits)), float(np.mean(outside))


def trajectory_bytes(trajectory: Any) -> int:  # noqa: ANN401
    null_text = trajectory.null_text
    tensors = [trajectory.latents, trajectory.pairs, trajectory.noise_maps]
    if null_text is not None:
        tensors += [null_text.embeddings, null_text.residuals]
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def plot(rows: list[tuple[str, str, float, float]], path: Path) -> None:
    """Fidelity over work, a mark for each method, the checkpoints beside each other."""
    from PIL import Image, ImageDraw, ImageFont

    names = list(dict.fromkeys(row[0] for row in rows))
    canvas = Image.new("RGB", (760 * len(names), 520), (250, 250, 248))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    most = np.log10(max(row[3] for row in rows))
    for place, name in enumerate(names):
        left = 760 * place + 60
        draw.text((left, 12), f"{name}: dB to the VAE round trip (150 = exact) over UNet work", (40, 40, 44), font)
        draw.rectangle([left, 40, left + 660, 470], outline=(40, 40, 44))
        for decibel in range(20, 160, 20):
            down = 470 - 430 * (decibel - 10) / 145
            draw.line([(left, down), (left + 660, down)], (220, 220, 220))
            draw.text((left - 8, down), str(decibel), (40, 40, 44), font, anchor="rm")
        for index, (_, method, fidelity, work) in enumerate(row for row in rows if row[0] == name):
            across = left + 20 + 440 * (np.log10(work) - 1.6) / max(0.1, most - 1.6)
            down = 470 - 430 * (min(fidelity, 150) - 10) / 145
            draw.ellipse([across - 5, down - 5, across + 5, down + 5], (36, 96, 180))
            draw.text((across + 8, down), str(index + 1), (36, 96, 180), font, anchor="lm")
            draw.text((left + 400, 52 + 17 * index), f"{index + 1} {method}", (40, 40, 44), font)
        draw.text((left + 20, 482), "work 50 to several thousand, logarithmic", (40, 40, 44), font)
    canvas.save(path)


if __name__ == "__main__":
    main()
