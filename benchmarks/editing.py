"""What edits of real pictures keep and change: every inversion with every editor, judged against the renderer's ground truth.

    python dev.py bench editing [--edits 200] [--kind colour] [--inversion ddim] [--editor "p2p + blend"] [--sheet FILE]

Held-out scenes of a miniature checkpoint, 50 steps. Success: the wanted attribute is what the picture shows. What must stay is
all outside of the object's masks before and after, grown by eight pixels; for a background the object, shrunk by eight. Its
PSNR is measured against the picture and set against that of the VAE's own round trip; SSIM tells of structure.
Reweighting: in how many of the edits the measured saturation rises with each factor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _host import CHECKPOINTS, encode_texts, environment, load_tiny, prepare
from torch import Tensor

STEPS, CFG, MARGIN = 50, 5.0, 8
KINDS = ("colour", "shape", "background", "added")
FACTORS = (0.5, 1.0, 2.0, 4.0)
# The help page's settings: cross_replace, self_replace.
# The maps are 8 x 8 here, and the blend grows them by one: 0.3, the reference's for 16 x 16, would open everything.
THRESHOLD = 0.6
FRACTIONS = {"colour": (0.8, 0.8), "shape": (0.4, 0.3), "background": (0.8, 0.8), "added": (0.8, 0.4)}


@dataclass(frozen=True)
class Case:
    """One edit: the scenes before and after, and the words of the local blend."""

    kind: str
    source: Any
    target: Any
    blend: str
    subtract: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one edit. psnr and vae_psnr in dB, of what must stay."""

    kind: str
    success: bool
    psnr: float
    vae_psnr: float
    ssim: float
    evaluations: int
    seconds: float
    picture: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=200, help="over all kinds")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default=CHECKPOINTS[0])
    parser.add_argument("--cfg", type=float, default=CFG)
    parser.add_argument("--inversion", action="append", choices=list(INVERSIONS))
    parser.add_argument("--editor", action="append", choices=list(EDITORS))
    parser.add_argument("--reweighted", type=int, default=40, help="edits by reweighting")
    parser.add_argument("--sheet", type=Path, help="write source, ground truth and edit of the first thirty edits here")
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.checkpoint}, {options.edits} edits, {STEPS} steps, cfg {options.cfg:g}\n")
    print("| inversion | editor | kind | success | kept, dB | under the VAE, dB | SSIM | UNet evaluations | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    with torch.inference_mode():
        bench = Bench(options.checkpoint, options.cfg)
        cases = make_cases(options.edits, tuple(options.kind or KINDS))
        for inversion in options.inversion or INVERSIONS:
            trajectories = [bench.invert(case, inversion) for case in cases]
            for editor in options.editor or EDITORS:
                outcomes = [
                    bench.run(case, trajectory, editor) for case, trajectory in zip(cases, trajectories, strict=True)
                ]
                for line in table(inversion, editor, outcomes):
                    print(line, flush=True)
                if options.sheet:
                    write_sheet(options.sheet, cases, outcomes)
        if options.reweighted:
            print(f"\n{bench.reweighting(options.reweighted)}")


def make_cases(count: int, kinds: tuple[str, ...]) -> list[Case]:
    """Held-out scenes in order of the kinds, as many of each."""
    import scenes

    rng = np.random.default_rng(5)
    return [_case(kind, rng, scenes) for kind in kinds for _ in range(count // len(kinds))]


def _case(kind: str, rng: np.random.Generator, scenes: Any) -> Case:  # noqa: ANN401
    scene = scenes.random_scene(rng, held_out=True, second_object=kind == "added")
    first = scene.objects[0]
    if kind == "added":
        second = scene.objects[1]
        if second.shape == first.shape:
            return _case(kind, rng, scenes)
        alone = scenes.Scene((first,), scene.background, scene.gradient, scene.angle)
        return Case(kind, alone, scene, second.shape)
    if kind == "shape":
        shape = str(rng.choice([name for name in scenes.SHAPES if name != first.shape]))
        return Case(kind, scene, scene.with_object(shape=shape), f"{first.shape}, {shape}")
    colour = str(rng.choice([name for name in scenes.PALETTE if name not in (first.colour, scene.background)]))
    if kind == "colour":
        return Case(kind, scene, scene.with_object(colour=colour), first.shape)
    target = scenes.Scene(scene.objects, colour, scene.gradient, scene.angle)
    return Case(kind, scene, target, "background", first.shape)


class Bench:
    """A checkpoint with the pack's nodes, called as ComfyUI calls them."""

    def __init__(self, checkpoint: str, cfg: float) -> None:
        self.model, self.clip, self.vae = load_tiny(checkpoint)
        self.cfg = cfg
        self.negative = encode_texts(self.clip, [""])

    def encode(self, picture: Tensor) -> Tensor:
        return self.vae.encode(picture)

    def invert(self, case: Case, inversion: str) -> tuple[Any, Tensor, float]:
        """(trajectory, picture [1, 128, 128, 3], seconds)."""
        picture = picture_of(case.source)
        prompt = encode_texts(self.clip, [case.source.caption])
        samples = self.encode(picture)
        started = time.perf_counter()
        trajectory = INVERSIONS[inversion](self, prompt, {"samples": samples})
        return trajectory, picture, time.perf_counter() - started

    def run(self, case: Case, inverted: tuple[Any, Tensor, float], editor: str) -> Outcome:
        from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

        trajectory, picture, seconds = inverted
        started = time.perf_counter()
        samples, evaluations = EDITORS[editor](self, case, trajectory)
        seconds += time.perf_counter() - started
        edited, roundtrip = (self.vae.decode(each).cpu() for each in (samples, self.encode(picture)))
        kept = kept_region(case)
        ours, vae = (compare_images(each, picture, kept, "inside") for each in (edited, roundtrip))
        return Outcome(
            case.kind,
            succeeded(case, edited[0]),
            ours.mean_psnr,
            vae.mean_psnr,
            float(np.mean(ours.ssim)),
            evaluations + trajectory.inversion.unet_evaluations,
            seconds,
            edited[0],
        )

    def patch(self, case: Case, blend: bool, cross: float, own: float, reweight: str = "") -> tuple[Any, Any]:
        """The model and conditioning of Prompt to Prompt."""
        from retrace_pack.nodes.prompt_to_prompt import (  # pyright: ignore[reportMissingImports]
            RetracePromptToPrompt,
        )

        words, subtracted = (case.blend, case.subtract) if blend else ("", "")
        return RetracePromptToPrompt.execute(
            self.model, self.clip, case.source.caption, case.target.caption, "auto", cross, own, reweight,
            words, THRESHOLD, 0.2, subtracted, THRESHOLD, "", "half",
        ).result  # fmt: skip

    def sample(self, model: Any, positive: Any, trajectory: Any) -> tuple[Tensor, int]:  # noqa: ANN401
        """The target's samples [1, C, H, W] and the UNet evaluations of all rows."""
        from retrace_pack.nodes.editing import RetraceEditSample  # pyright: ignore[reportMissingImports]

        output = RetraceEditSample.execute(
            model, trajectory, positive, self.cfg, 0, True, 0.0, 400, 0.7, 1, negative=self.negative
        )
        rows = positive[0][0].shape[0]
        return output.result[0]["samples"], rows * int(output.ui["text"][0].split()[0])

    def reweighting(self, count: int) -> str:
        """In how many pictures the object's saturation rises with the factor of its colour."""
        cases = make_cases(count, ("colour",))
        rising, means = 0, np.zeros(len(FACTORS))
        for case in cases:
            same = Case(case.kind, case.source, case.source, case.blend)
            trajectory, _, _ = self.invert(same, "ddim")
            colour = case.source.objects[0].colour
            saturations = []
            for factor in FACTORS:
                model, positive = self.patch(same, True, 1.0, 0.4, f"{colour}:{factor}")
                samples, _ = self.sample(model, positive, trajectory)
                saturations.append(saturation(self.vae.decode(samples)[0].cpu(), case.source))
            rising += saturations == sorted(saturations)
            means += np.array(saturations) / len(cases)
        listed = ", ".join(f"{factor:g}: {mean:.3f}" for factor, mean in zip(FACTORS, means, strict=True))
        return f"Reweighted colour words: saturation rises with the factor in {rising} of {count} ({listed})."


def picture_of(scene: Any) -> Tensor:  # noqa: ANN401
    import scenes

    return torch.from_numpy(scenes.render(scene)[None]).float() / 255


def kept_region(case: Case) -> Tensor:
    """What must stay, [1, 128, 128] of 0 and 1."""
    import cv2
    import scenes

    masks = [scenes.object_mask(scene, at) for scene in (case.source, case.target) for at in range(len(scene.objects))]
    brush = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    if case.kind == "background":
        kept = cv2.erode(masks[0].astype(np.uint8), brush)
    else:
        if case.kind == "added":  # the first object is not edited either
            masks = [scenes.object_mask(case.target, 1)]
        kept = 1 - cv2.dilate(np.any(masks, axis=0).astype(np.uint8), brush)
    return torch.from_numpy(kept[None].astype(np.float32))


def succeeded(case: Case, picture: Tensor) -> bool:
    """Whether the picture [128, 128, 3] shows the wanted attribute."""
    import scenes
    from judge import SMALLEST_AREA, judge, largest_blob, nearest_colours

    pixels = (picture * 255).round().clamp(0, 255).byte().numpy()
    wanted = case.target.objects[-1]
    if case.kind == "added":
        of_colour = nearest_colours(pixels) == list(scenes.PALETTE).index(wanted.colour)
        return int(largest_blob(of_colour).sum()) >= SMALLEST_AREA
    verdict = judge(pixels)
    shown = {"colour": verdict.colour, "shape": verdict.shape, "background": verdict.background}[case.kind]
    return shown == {"colour": wanted.colour, "shape": wanted.shape, "background": case.target.background}[case.kind]


def saturation(picture: Tensor, scene: Any) -> float:  # noqa: ANN401
    """Mean of (max - min) over the channels, within the object."""
    import scenes

    inside = picture[torch.from_numpy(scenes.object_mask(scene))]
    return float((inside.amax(-1) - inside.amin(-1)).mean())


def table(inversion: str, editor: str, outcomes: list[Outcome]) -> Iterator[str]:
    for kind, group in groupby(outcomes, key=lambda outcome: outcome.kind):
        each = list(group)

        def mean(values: list[float]) -> float:
            return float(np.mean([value for value in values if np.isfinite(value)]))

        kept = mean([o.psnr for o in each])
        yield (
            f"| {inversion} | {editor} | {kind} | {100 * mean([o.success for o in each]):.1f} % | {kept:.2f} | "
            f"{mean([o.vae_psnr for o in each]) - kept:.2f} | {mean([o.ssim for o in each]):.3f} | "
            f"{mean([o.evaluations for o in each]):.0f} | {mean([o.seconds for o in each]):.1f} |"
        )


def write_sheet(path: Path, cases: list[Case], outcomes: list[Outcome]) -> None:
    """Columns of source, ground truth and edit; ten of each in a row, thirty edits spread over all kinds."""
    from PIL import Image

    chosen = np.linspace(0, len(cases) - 1, min(30, len(cases))).round().astype(int)
    strips = [
        torch.cat([picture_of(cases[at].source)[0], picture_of(cases[at].target)[0], outcomes[at].picture])
        for at in chosen
    ]
    rows = [torch.cat(strips[at : at + 10], dim=1) for at in range(0, len(strips) - len(strips) % 10, 10)]
    sheet = (torch.cat(rows) * 255).round().clamp(0, 255).byte().numpy()
    Image.fromarray(sheet).save(path)


def _ddim(iterations: int) -> Callable[[Bench, Any, Any], Any]:
    def invert(bench: Bench, prompt: Any, latent: Any) -> Any:  # noqa: ANN401
        from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

        return RetraceDDIMInvert.execute(
            bench.model, prompt, prompt, latent, STEPS, 1.0, iterations, "leading", "clean"
        ).result[0]

    return invert


def _from_noise(bench: Bench, case: Case, trajectory: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    """Plain sampling of the target prompt: what success is measured against."""
    from retrace_pack.nodes.sampling import RetraceDDIMSample  # pyright: ignore[reportMissingImports]

    positive = encode_texts(bench.clip, [case.target.caption])
    empty = {"samples": torch.zeros_like(trajectory.latents[0])}
    seed = abs(int(1e6 * case.source.angle))
    output = RetraceDDIMSample.execute(
        bench.model,
        positive,
        bench.negative,
        empty,
        seed,
        STEPS,
        bench.cfg,
        0,
        1000,
        True,
        0.0,
        "leading",
        "clean",
        False,
        "",
    )
    return output.result[0]["samples"], 2 * STEPS


def _swap(bench: Bench, case: Case, trajectory: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    """The same prompt swap without attention control."""
    return bench.sample(bench.model, encode_texts(bench.clip, [case.target.caption]), trajectory)


def _p2p(blend: bool) -> Callable[[Bench, Case, Any], tuple[Tensor, int]]:
    return lambda bench, case, trajectory: bench.sample(*bench.patch(case, blend, *FRACTIONS[case.kind]), trajectory)


def _masactrl(bench: Bench, case: Case, trajectory: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    from retrace_pack.nodes.attention import RetraceMasaCtrl  # pyright: ignore[reportMissingImports]

    model, positive = bench.patch(case, False, 0.0, 0.0)
    return bench.sample(RetraceMasaCtrl.execute(model, 4, 0.625).result[0], positive, trajectory)


def _plug_and_play(bench: Bench, case: Case, trajectory: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    from retrace_pack.nodes.attention import RetracePlugAndPlay  # pyright: ignore[reportMissingImports]

    model, positive = bench.patch(case, False, 0.0, 0.0)
    return bench.sample(RetracePlugAndPlay.execute(model, 0.5, 0.8).result[0], positive, trajectory)


INVERSIONS: dict[str, Callable[[Bench, Any, Any], Any]] = {"ddim": _ddim(0), "fixed point": _ddim(4)}
EDITORS: dict[str, Callable[[Bench, Case, Any], tuple[Tensor, int]]] = {
    "from noise": _from_noise,
    "prompt swap": _swap,
    "p2p": _p2p(False),
    "p2p + blend": _p2p(True),
    "masactrl": _masactrl,
    "plug and play": _plug_and_play,
}


if __name__ == "__main__":
    main()
