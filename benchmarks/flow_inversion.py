"""Inversions of a flow, side by side: what people use and ours, on the same steps.

    python dev.py bench flow_inversion [--parts FOLDER | --random] [--checkpoint tiny_flux] [--scenes 8] [--steps 28]

Held-out still lifes, cfg 1, source prompt there and back. PSNR (dB) of the decoded reconstruction against the VAE's own round
trip, the mean and the lowest; "finite" counts the pictures that are any; "spread" is the standard deviation of the noise end's
values (1 in noise), "calls" counts model evaluations for one picture, there and back. `--parts` is a folder with the parts of a
Flux miniature, trained or not (as tests/tiny_models/train.py writes to its folder `files`). Without it, the
stored ones; `--random`, or while none are stored, files with random weights, whose figures say nothing of trained models.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _host import PARTS, environment, prepare
from _still_lifes import held_out
from torch import Tensor

RF_GAMMA, RF_ETA, RF_CONTROLLED = 0.5, 0.9, 0.25
"""RF-Inversion's controllers (Rout et al. 2024, arXiv 2410.10792), and the fraction of the steps that eta acts on."""
MOST = 150.0
"""Decibels that count as exact."""


@dataclass(frozen=True)
class Case:
    model: Any
    prompt: Any
    empty: Any
    samples: Tensor
    steps: int

    def levels(self) -> Tensor:
        """The model's own, from noise to image [steps + 1]."""
        import comfy.samplers

        return comfy.samplers.calculate_sigmas(self.model.get_model_object("model_sampling"), "simple", self.steps)


Ends = tuple[Tensor, Tensor]
"""The samples of the noise end and of the reconstruction."""
Method = Callable[[Case], Ends]


def methods() -> Iterator[tuple[str, Method]]:
    yield "core, FlipSigmas", lambda case: core(case, 0)
    yield "core, FlipSigmas, one step short of noise", lambda case: core(case, 1)
    yield "RF-Inversion's rule", rf_inversion
    for solver, words in (("euler", "Euler"), ("uni", "Uni-Inv"), ("midpoint", "RF-Solver"), ("fireflow", "FireFlow")):
        yield f"{words}, plain way back", lambda case, solver=solver: flow(case, solver, "off")
    yield "Euler, 2 fixed-point iterations, plain way back", lambda case: flow(case, "euler", "off", 2)
    for solver, words in (("euler", "Euler"), ("uni", "Uni-Inv"), ("dna", "DNAEdit")):
        yield f"{words}, aligned way back", lambda case, solver=solver: flow(case, solver, "on")
    for method in ("o-belm", "bdia", "edict"):
        yield method, lambda case, method=method: exact(case, method)
    yield "noise maps", noise_maps


def core(case: Case, short: int) -> Ends:
    """Euler up the flipped levels and down again, with core's nodes; `short` leaves out as many of the noisiest levels."""
    from comfy_extras import nodes_custom_sampler as core_nodes

    def first(node: Any, *inputs: object) -> Any:  # noqa: ANN401
        return node.execute(*inputs).result[0]

    levels = case.levels()[short:]
    guider = first(core_nodes.BasicGuider, case.model, case.prompt)
    euler, still = first(core_nodes.KSamplerSelect, "euler"), first(core_nodes.DisableNoise)

    def walk(sigmas: Tensor, latent: dict[str, Tensor]) -> dict[str, Tensor]:
        return first(core_nodes.SamplerCustomAdvanced, still, guider, euler, sigmas, latent)

    noise = walk(first(core_nodes.FlipSigmas, levels.clone()), {"samples": case.samples})
    return noise["samples"] * (1 - levels[0]), walk(levels, noise)["samples"]


def rf_inversion(case: Case) -> Ends:
    """Up without a prompt and with guidance 0, pulled to a noise; down under the prompt, pulled to the image at first."""
    from retrace_pack.host.guided import Guidance, LoopRun, run_loop  # pyright: ignore[reportMissingImports]
    from retrace_pack.samplers.path import direction  # pyright: ignore[reportMissingImports]

    levels = case.levels()
    drawn = torch.randn(case.samples.shape, generator=torch.Generator().manual_seed(0))

    def up(run: LoopRun) -> Tensor:
        x = run.latent
        for s, s_next in pairs(levels.flip(0)):
            asked = s.clamp(min=1e-2)
            velocity = direction(x, run.denoise(x, asked), asked)
            x = x + (s_next - s) * (velocity + RF_GAMMA * ((drawn - x) / (1 - s) - velocity))
        return x

    def down(run: LoopRun) -> Tensor:
        x = noise
        for step, (s, s_next) in enumerate(pairs(levels)):
            velocity = direction(x, run.denoise(x, s), s)
            pull = RF_ETA if step < RF_CONTROLLED * case.steps else 0.0
            x = x + (s_next - s) * (velocity + pull * ((x - run.latent) / s - velocity))
        return x

    upward, downward = (
        Guidance(case.model, prompt, case.empty, 1.0) for prompt in (guided(case.empty, 0.0), case.prompt)
    )
    noise = run_loop(upward, case.samples, levels.flip(0), up)[0]
    back = run_loop(downward, case.samples, levels, down)[0]
    return noise, case.model.model.process_latent_out(back)


def flow(case: Case, solver: str, align: str, iterations: int = 0) -> Ends:
    from retrace_pack.nodes.flow_inversion import RetraceFlowInvert  # pyright: ignore[reportMissingImports]

    return ours(case, RetraceFlowInvert, align, guidance=1.0, solver=solver, fixed_point_iterations=iterations)


def exact(case: Case, method: str) -> Ends:
    from retrace_pack.nodes.exact_inversion import RetraceExactInvert  # pyright: ignore[reportMissingImports]

    return ours(case, RetraceExactInvert, "auto", method=method)


def noise_maps(case: Case) -> Ends:
    from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert  # pyright: ignore[reportMissingImports]

    return ours(case, RetraceEditFriendlyInvert, "auto")


def ours(case: Case, node: Any, align: str, **settings: object) -> Ends:  # noqa: ANN401
    from node_call import run_node
    from retrace_pack.nodes.editing import RetraceEditSample  # pyright: ignore[reportMissingImports]

    given = {"model": case.model, "positive": case.prompt, "negative": case.empty, "cfg": 1.0}
    image = {"samples": case.samples}
    trajectory = run_node(node, **given, latent=image, steps=case.steps, **settings).result[0]
    back = run_node(RetraceEditSample, **given, trajectory=trajectory, align=align).result[0]["samples"]
    return case.model.model.process_latent_in(trajectory.latents[-1]), back


def pairs(levels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(levels[:-1], levels[1:], strict=True)


def guided(prompt: Any, guidance: float) -> Any:  # noqa: ANN401  (a CONDITIONING)
    import node_helpers

    return node_helpers.conditioning_set_values(prompt, {"guidance": guidance})


def encoded(clip: Any, texts: Sequence[str]) -> Any:  # noqa: ANN401
    """One CONDITIONING whose rows are the texts, with guidance 1 for a model that takes one."""
    rows = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0] for text in texts]
    pooled = torch.cat([settings["pooled_output"] for _, settings in rows])
    return guided([[torch.cat([tokens for tokens, _ in rows]), {"pooled_output": pooled}]], 1.0)


class Calls:
    """Counts the rows that a model evaluates."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        import comfy.patcher_extension

        self.rows = 0
        self.model = model.clone()
        self.model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "calls", self._count)

    def _count(self, executor: Callable[..., Tensor], x: Tensor, *rest: object, **named: object) -> Tensor:
        self.rows += len(x)
        return executor(x, *rest, **named)


def load(parts: Path, name: str) -> tuple[Any, Any, Any]:
    """(MODEL, CLIP, VAE)"""
    import comfy.sd
    from tiny_models import stored
    from tiny_models.loader import layouts

    layouts.register()
    loaded: Any = comfy.sd.load_state_dict_guess_config(stored.join(parts, name))
    return loaded[:3]


def measure(parts: Path, name: str, scenes: int, steps: int) -> Iterator[str]:
    """The rows of the table."""
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    model, clip, vae = load(parts, name)
    captions, pictures = held_out(scenes, seed=3)
    samples = vae.encode(pictures)
    prompts = encoded(clip, captions), encoded(clip, [""] * scenes)
    trip = vae.decode(samples)
    for words, method in methods():
        calls = Calls(model)
        noise, back = method(Case(calls.model, *prompts, samples, steps))
        finite = torch.isfinite(back).flatten(1).all(1)
        decibels = spread = "-"
        if finite.any():
            found = [min(psnr, MOST) for psnr in compare_images(vae.decode(back[finite]), trip[finite]).psnr]
            decibels, spread = f"{sum(found) / len(found):.1f} / {min(found):.1f}", f"{float(noise[finite].std()):.2f}"
        yield f"| {words} | {decibels} | {int(finite.sum())} of {scenes} | {spread} | {calls.rows / scenes:g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, help="a folder with the parts of a Flux miniature")
    parser.add_argument("--random", action="store_true", help="files with random weights")
    parser.add_argument("--checkpoint", choices=("tiny_flux", "tiny_flux_guided"), default="tiny_flux")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=28)
    options = parser.parse_args()
    prepare()
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        from tiny_models import stored

        parts, name = options.parts or PARTS, options.checkpoint
        random = options.random or (options.parts is None and name not in stored.complete(PARTS))
        if random:
            from random_flux import write_random_flux

            parts = Path(folder)
            write_random_flux(parts)
        if name not in stored.complete(parts):
            parser.error(f"{parts} does not hold the parts of {name}")
        kind = "random weights" if random else parts.name
        print(f"{environment()}; {name} ({kind}), {options.scenes} scenes, {options.steps} steps\n")
        print("| inversion | PSNR, mean / lowest | finite | spread | calls |\n|---|---|---|---|---|", flush=True)
        for line in measure(parts, name, options.scenes, options.steps):
            print(line, flush=True)


if __name__ == "__main__":
    main()
