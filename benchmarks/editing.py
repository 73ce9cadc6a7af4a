"""What edits of real pictures keep and change: every inversion with every editor, judged against the renderer's ground truth.

    python dev.py bench editing [--edits 200] [--kind color] [--inversion REGEX] [--editor REGEX] [--sheet FILE]

Held-out scenes of a miniature checkpoint, 50 steps. An edit succeeds if the picture shows the requested attribute; for
"reweighted", if the object's area never shrinks as the factor of the word "large" grows. What must stay is everything
outside the object's masks before and after, grown by eight pixels; for a background, it is the object, shrunk by eight. Its
PSNR is measured against the picture, and compared with that of the VAE's own round trip. "elsewhere" excludes the place of
an added object, which the prompt does not name. SSIM measures structure.

A full run takes hours on a CPU. Results are stored, five edits a line, in benchmarks/results/editing.jsonl and are not
measured again while the checkpoint and the settings stay the same; the table is made from what is there.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _edits import (
    KINDS,
    REWEIGHTED,
    Case,
    kept_elsewhere,
    kept_region,
    make_cases,
    new_words,
    object_area,
    painted_box,
    picture_of,
    succeeded,
)
from _host import CHECKPOINTS, encode_texts, environment, load_tiny, prepare
from _rebuilding import STEPS, Prepared, edit_friendly, exact, negative_prompt, null_text, plain
from _rebuilding import Case as Rebuilt
from _results import append, digest, read
from torch import Tensor

RESULTS, GROUP, CFG = "editing", 5, 5.0
FACTORS = (0.5, 1.0, 2.0, 4.0)
FROM_NOISE, FIRST_INVERSION = "from noise", "ddim"


@dataclass(frozen=True)
class Blend:
    """Settings of the local blend. The maps are 8 x 8 at half of the latent and 16 x 16 in full. The blend grows its regions
    by one pixel, which at the reference's threshold, 0.3, would open it everywhere.
    """

    threshold: float = 0.6
    start: float = 0.2
    subtract_threshold: float = 0.4
    layers: str = "half"
    painted: bool = False


@dataclass(frozen=True)
class Settings:
    """Settings of Prompt to Prompt for a kind of edit; `emphasis` is the factor of the new words, and the fraction of the steps
    in which it applies.
    """

    cross: float
    own: float
    blend: Blend | None = None
    emphasis: tuple[float, float] | None = None


SETTINGS = {
    "p2p": {
        "color": Settings(0.8, 0.8),
        "shape": Settings(0.8, 0.6),
        "background": Settings(0.8, 0.8),
        "added": Settings(0.3, 0.2),
    },
    "p2p + blend": {
        "color": Settings(0.8, 0.8, Blend()),
        "shape": Settings(0.6, 0.4, Blend(layers="full")),
        "background": Settings(0.4, 0.2, Blend(subtract_threshold=0.6, layers="full")),
        "added": Settings(0.2, 0.1, Blend(start=0.0, painted=True), emphasis=(3.0, 1.0)),
        REWEIGHTED: Settings(1.0, 0.0, Blend()),
    },
}

BEST_INVERSION = {
    "color": FIRST_INVERSION,
    "shape": "edit friendly",
    "background": "edit friendly",
    "added": "edit friendly",
}
"""The inversion that works best with a local blend."""

Place = tuple[str, float, str, str, str, str, int]


def settings_text(editor: str, kind: str) -> str:
    """The settings of a record as text, so that other settings are measured again."""
    return str(SETTINGS[editor][kind]) if editor in SETTINGS else ""


@dataclass(frozen=True)
class Record:
    """Means over one group of edits: fidelity of what must stay in dB, areas in pixels, one for each factor."""

    weights: str
    cfg: float
    inversion: str
    editor: str
    kind: str
    settings: str
    group: int
    edits: int
    success: float
    kept: float
    elsewhere: float
    vae_kept: float
    ssim: float
    evaluations: float
    seconds: float
    areas: list[float]

    @property
    def place(self) -> Place:
        return self.weights, self.cfg, self.inversion, self.editor, self.kind, self.settings, self.group


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=200, help="number of edits, all kinds together")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default=CHECKPOINTS[0])
    parser.add_argument("--cfg", type=float, default=CFG)
    parser.add_argument("--inversion", default="", help="only inversions whose name matches this regular expression")
    parser.add_argument("--editor", default="", help="likewise")
    parser.add_argument(
        "--sheet", type=Path, help="repeat thirty edits; write source, ground truth and edit of each here"
    )
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.checkpoint}, {STEPS} steps, cfg {options.cfg:g}\n")
    with torch.inference_mode():
        bench = Bench(options.checkpoint, options.cfg)
        if options.sheet:
            write_sheet(options.sheet, bench)
        else:
            for group in range(max(1, options.edits // len(KINDS) // GROUP)):
                for kind in options.kind or KINDS:
                    bench.measure_missing(kind, group, options.inversion, options.editor)
    print(
        "| inversion | editor | kind | edits | success | kept, dB | elsewhere | under the VAE, dB | SSIM | UNet evaluations "
        "| seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    print(*table(digest(options.checkpoint), options.cfg), sep="\n")


class Bench:
    """A checkpoint with the pack's nodes, called the way ComfyUI calls them."""

    def __init__(self, checkpoint: str, cfg: float) -> None:
        self.model, self.clip, self.vae = load_tiny(checkpoint)
        self.weights, self.cfg = digest(checkpoint), cfg
        self.negative = encode_texts(self.clip, [""])

    def measure_missing(self, kind: str, group: int, inversions: str, editors: str) -> None:
        """Measure every inversion with every editor on one group of edits, except those already recorded."""
        known = {Record(**figures).place for figures in read(RESULTS)}
        cases = make_cases(kind, (group + 1) * GROUP)[-GROUP:]

        @cache
        def inverted(inversion: str) -> list[tuple[Rebuilt, Prepared, float]]:
            return [self.invert(case, inversion) for case in cases]

        for inversion in INVERSIONS:
            for editor in EDITORS:
                if not (re.search(inversions, inversion) and re.search(editors, editor)):
                    continue
                if editor == FROM_NOISE and inversion != FIRST_INVERSION:
                    continue
                if kind == REWEIGHTED and editor != "p2p + blend":
                    continue
                place = (self.weights, self.cfg, inversion, editor, kind, settings_text(editor, kind), group)
                if place in known:
                    continue
                record = self.measure(cases, inverted(inversion), place)
                append(RESULTS, record)
                print(row_text([record]), flush=True)

    def measure(
        self,
        cases: list[Case],
        inverted: list[tuple[Rebuilt, Prepared, float]],
        place: Place,
    ) -> Record:
        editor, figures, areas = place[3], [], []
        for case, (rebuilt, prepared, inverting) in zip(cases, inverted, strict=True):
            seconds, work = (0.0, 0) if editor == FROM_NOISE else (inverting, prepared.work)
            started = time.perf_counter()
            if case.kind == REWEIGHTED:
                results = [self.edit(case, prepared, editor, factor) for factor in FACTORS]
            else:
                results = [self.edit(case, prepared, editor)]
            seconds += time.perf_counter() - started
            pictures = [self.vae.decode(samples).cpu() for samples, _ in results]
            if case.kind == REWEIGHTED:
                areas.append([object_area(case, picture[0]) for picture in pictures])
                success = areas[-1] == sorted(areas[-1])
            else:
                success = succeeded(case, pictures[-1][0])
            work += sum(evaluations for _, evaluations in results)
            figures.append((success, *self.fidelity(case, rebuilt, pictures[-1]), work, seconds))
        success, kept, elsewhere, vae_kept, ssim, evaluations, seconds = np.mean(figures, axis=0).tolist()
        over_factors = np.mean(areas, axis=0).tolist() if areas else []
        return Record(
            *place, len(cases), success, kept, elsewhere, vae_kept, ssim, evaluations, seconds, over_factors
        )  # fmt: skip

    def fidelity(self, case: Case, rebuilt: Rebuilt, edited: Tensor) -> tuple[float, float, float, float]:
        """PSNR of what must stay, of the same elsewhere, and in the VAE's round trip; and SSIM."""
        from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

        kept, elsewhere = kept_region(case), kept_elsewhere(case, edited[0])
        ours = compare_images(edited, rebuilt.pictures, kept, "inside")
        others = compare_images(edited, rebuilt.pictures, elsewhere, "inside")
        vae = compare_images(self.vae.decode(rebuilt.samples).cpu(), rebuilt.pictures, kept, "inside")
        return ours.mean_psnr, others.mean_psnr, vae.mean_psnr, float(np.mean(ours.ssim))

    def invert(self, case: Case, inversion: str) -> tuple[Rebuilt, Prepared, float]:
        """The source as a scene to reconstruct, its inversion, and how many seconds the inversion took."""
        picture = picture_of(case.source)
        rebuilt = Rebuilt(
            self.model, self.clip, self.vae, [case.source], picture, self.vae.encode(picture), self.cfg
        )  # fmt: skip
        started = time.perf_counter()
        prepared = INVERSIONS[inversion](rebuilt)
        return rebuilt, prepared, time.perf_counter() - started

    def edit(self, case: Case, prepared: Prepared, editor: str, factor: float | None = None) -> tuple[Tensor, int]:
        """The target's samples [1, C, H, W], and the UNet evaluations of all rows."""
        reweight = "" if factor is None else f"{case.source.objects[0].size}:{factor}"
        return EDITORS[editor](self, case, prepared, reweight)

    def patch(self, case: Case, settings: Settings, reweight: str = "") -> tuple[Any, Any]:
        """The model and conditioning from Prompt to Prompt."""
        from node_call import run_node
        from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt  # pyright: ignore[reportMissingImports]

        blend = settings.blend or Blend()
        painted = painted_box(case) if blend.painted else None
        words, subtracted = (case.blend, case.subtract) if settings.blend and painted is None else ("", "")
        new = new_words(case) if settings.emphasis else []
        factor, fraction = settings.emphasis or (1.0, 1.0)
        return run_node(
            RetracePromptToPrompt,
            model=self.model,
            clip=self.clip,
            source_prompt=case.source.caption,
            target_prompts=case.target.caption,
            cross_replace=settings.cross,
            self_replace=settings.own,
            reweight=reweight or numbered(new, factor),
            blend_words=words,
            blend_threshold=blend.threshold,
            blend_start=blend.start,
            subtract_words=subtracted,
            subtract_threshold=blend.subtract_threshold,
            cross_replace_words=numbered(new, fraction),
            blend_layers=blend.layers,
            blend_mask=painted,
        ).result

    def sample(self, model: Any, positive: Any, prepared: Prepared) -> tuple[Tensor, int]:  # noqa: ANN401
        from node_call import run_node
        from retrace_pack.nodes.editing import RetraceEditSample  # pyright: ignore[reportMissingImports]

        output = run_node(
            RetraceEditSample,
            model=model,
            trajectory=prepared.trajectory,
            positive=positive,
            cfg=self.cfg,
            negative=prepared.negative,
        )
        rows = positive[0][0].shape[0]
        return output.result[0]["samples"], rows * int(output.ui["text"][0].split()[0])


def numbered(words: list[str], number: float) -> str:
    """Words in the format that Prompt to Prompt reads: word:number, ..."""
    return ", ".join(f"{word}:{number:g}" for word in words)


def table(weights: str, cfg: float) -> Iterator[str]:
    """A line for each inversion, editor and kind, over all groups measured so far."""
    found: dict[tuple[str, str, str], list[Record]] = {}
    for figures in read(RESULTS):
        record = Record(**figures)
        made_with = record.weights, record.cfg, record.settings
        if made_with == (weights, cfg, settings_text(record.editor, record.kind)):
            found.setdefault((record.inversion, record.editor, record.kind), []).append(record)
    order = [list(names) for names in (INVERSIONS, EDITORS, KINDS)]
    for place in sorted(found, key=lambda place: [names.index(name) for names, name in zip(order, place, strict=True)]):
        yield row_text(found[place])


def row_text(records: list[Record]) -> str:
    def mean(figure: str) -> float:
        return float(np.average([getattr(each, figure) for each in records], weights=[each.edits for each in records]))

    first, kept = records[0], mean("kept")
    cells = [
        first.inversion, first.editor, first.kind, f"{sum(each.edits for each in records)}", f"{100 * mean('success'):.1f} %",
        f"{kept:.2f}", f"{mean('elsewhere'):.2f}", f"{mean('vae_kept') - kept:.2f}", f"{mean('ssim'):.3f}",
        f"{mean('evaluations'):.0f}", f"{mean('seconds'):.1f}",
    ]  # fmt: skip
    if first.areas:
        means = np.mean([each.areas for each in records], axis=0)
        rising = ", ".join(f"x {factor:g}: {value:.0f}" for factor, value in zip(FACTORS, means, strict=True))
        cells[2] = f"{first.kind} (area {rising})"
    return f"| {' | '.join(cells)} |"


def write_sheet(path: Path, bench: Bench) -> None:
    """Columns of source, ground truth, and an edit by prompt-to-prompt with local blend; ten in each row, thirty in all."""
    from PIL import Image

    counts = {"color": 8, "shape": 8, "background": 7, "added": 7}
    cases = [case for kind, count in counts.items() for case in make_cases(kind, count)]
    strips = []
    for case in cases:
        samples, _ = bench.edit(case, bench.invert(case, BEST_INVERSION[case.kind])[1], "p2p + blend")
        pictures = (picture_of(case.source)[0], picture_of(case.target)[0], bench.vae.decode(samples)[0].cpu())
        strips.append(torch.cat(pictures))
    rows = [torch.cat(strips[at : at + 10], dim=1) for at in range(0, len(strips), 10)]
    sheet = (torch.cat(rows) * 255).round().clamp(0, 255).byte().numpy()
    Image.fromarray(sheet).save(path)


def _from_noise(bench: Bench, case: Case, prepared: Prepared, _: str) -> tuple[Tensor, int]:
    """Plain sampling of the target prompt: the baseline for success."""
    from node_call import run_node
    from retrace_pack.nodes.ddim_sample import RetraceDDIMSample  # pyright: ignore[reportMissingImports]

    positive = encode_texts(bench.clip, [case.target.caption])
    empty = {"samples": torch.zeros_like(prepared.trajectory.latents[0])}
    seed = abs(int(1e6 * case.source.angle))
    output = run_node(
        RetraceDDIMSample,
        model=bench.model,
        positive=positive,
        negative=bench.negative,
        latent=empty,
        seed=seed,
        steps=STEPS,
        cfg=bench.cfg,
        add_noise=True,
    )
    return output.result[0]["samples"], 2 * STEPS


def _swap(bench: Bench, case: Case, prepared: Prepared, _: str) -> tuple[Tensor, int]:
    """The same prompt swap without attention control."""
    return bench.sample(bench.model, encode_texts(bench.clip, [case.target.caption]), prepared)


def _p2p(editor: str) -> Callable[[Bench, Case, Prepared, str], tuple[Tensor, int]]:
    return lambda bench, case, prepared, reweight: bench.sample(
        *bench.patch(case, SETTINGS[editor][case.kind], reweight), prepared
    )


def _masactrl(bench: Bench, case: Case, prepared: Prepared, _: str) -> tuple[Tensor, int]:
    from node_call import run_node
    from retrace_pack.nodes.masactrl import RetraceMasaCtrl  # pyright: ignore[reportMissingImports]

    model, positive = bench.patch(case, Settings(0.0, 0.0))
    return bench.sample(run_node(RetraceMasaCtrl, model=model).result[0], positive, prepared)


def _plug_and_play(bench: Bench, case: Case, prepared: Prepared, _: str) -> tuple[Tensor, int]:
    from node_call import run_node
    from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay  # pyright: ignore[reportMissingImports]

    model, positive = bench.patch(case, Settings(0.0, 0.0))
    return bench.sample(run_node(RetracePlugAndPlay, model=model).result[0], positive, prepared)


INVERSIONS: dict[str, Callable[[Rebuilt], Prepared]] = {
    FIRST_INVERSION: plain,
    "fixed point": lambda part: plain(part, iterations=4),
    "negative prompt": negative_prompt,
    "null text": lambda part: null_text(part, "fast"),
    "edit friendly": lambda part: edit_friendly(part, "ddpm", STEPS),
    "edict": lambda part: exact(part, "edict"),
}
EDITORS: dict[str, Callable[[Bench, Case, Prepared, str], tuple[Tensor, int]]] = {
    FROM_NOISE: _from_noise,
    "prompt swap": _swap,
    "p2p": _p2p("p2p"),
    "p2p + blend": _p2p("p2p + blend"),
    "masactrl": _masactrl,
    "plug and play": _plug_and_play,
}


if __name__ == "__main__":
    main()
