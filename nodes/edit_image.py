"""The easy node: a photo and two sentences give the edited photo."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from comfy_api.latest import io
from torch import Tensor

from ..editing.kinds import KINDS, Kind, kind_of, only_colors_differ
from ..editing.prompt_diff import spans_between
from ..editing.recipes import NATIVE_SIDE, RECIPES, Row, few_step_name
from ..host.backbones import backbone_of
from ..host.expansion import Expansion
from ..host.latents import latent_scale
from ..host.model_facts import model_facts
from ..host.model_family import model_family
from ..host.report import report
from ..samplers.blend_mask import checked_mask
from ..samplers.working_region import LEAST_SIDE, Region, region_around, working_size
from .edit_graph import CONTEXT, EditPlan, build
from .inputs import seed_input, steps_input
from .node import RetraceNode

FEATHER = 8
"""Pixels of the working size over which an edit fades into the photo."""


class RetraceEditImage(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceEditImage",
            display_name="Edit Image (Retrace)",
            category="Retrace/Edit",
            description="Edits a photo: describe what it shows and what it should show. The photo is inverted, edited and put "
            "back at its own size; what the edit does not touch keeps its pixels.",
            search_aliases=[
                "edit photo", "edit image", "change word", "change color", "replace object", "remove object", "add object",
                "style", "background", "prompt edit", "easy",
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="An SD1.x, SD2.x or SDXL model, or a flow (Flux, SD3, Qwen-Image, ...), including LoRAs and patches.",
                ),
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                io.Vae.Input("vae", tooltip="The model's VAE."),
                io.Image.Input("image", tooltip="The photo, of any size; the result has the same size."),
                io.String.Input(
                    "before",
                    multiline=True,
                    tooltip="What the photo shows, in one sentence. It may be empty: the edit then keeps less of the photo.",
                ),
                io.String.Input(
                    "after",
                    multiline=True,
                    tooltip="What the photo should show: the same sentence with the words changed. Each line is a separate edit "
                    "of the photo.",
                ),
                io.Combo.Input(
                    "change",
                    options=["auto", *KINDS],
                    default="auto",
                    tooltip="What kind of change it is, which decides on method and settings. auto reads it from the two "
                    "sentences.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much may change: 1 is the full edit, 0 gives the photo back. For an edit beyond that, raise cfg.",
                ),
                seed_input("Counts only for methods that draw noise; the others give the same result with every seed."),
                steps_input(),
                io.Float.Input(
                    "cfg",
                    default=0.0,
                    min=0.0,
                    max=30.0,
                    step=0.5,
                    advanced=True,
                    tooltip="Guidance scale of the edit; 0 takes the one that suits the kind of change.",
                ),
                io.Int.Input(
                    "working_size",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    advanced=True,
                    tooltip="The edit happens at about this many pixels squared, in the photo's aspect; 0 takes the model's own "
                    "size.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the photo may change. With a small mask, the part around it is edited at full resolution. "
                    "Without a mask, or with an empty one, the edit finds its place by itself.",
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            outputs=[
                io.Image.Output("image", tooltip="The edited photo, one for each line of after, at the photo's size."),
                io.Image.Output("comparison", tooltip="The photo and the edit side by side."),
                io.Mask.Output("mask", tooltip="Where the result differs from the photo, at the photo's size."),
            ],
            enable_expand=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        clip: io.Clip.Type,
        vae: io.Vae.Type,
        image: Tensor,
        before: str,
        after: str,
        change: Kind | Literal["auto"],
        strength: float,
        seed: int,
        steps: int,
        cfg: float,
        working_size: int,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        graph = Expansion(cls)
        source, targets = before.strip(), [line.strip() for line in after.splitlines() if line.strip()]
        _require_prompts(source, targets)
        _require_photo(image)
        family = model_family(model)
        _require_many_steps(graph)
        model_facts(model).schedule(steps, "leading", "clean")
        row, why = _row(change, source, targets)
        recipe = RECIPES[family][row]
        recipe = replace(recipe, cfg=cfg or recipe.cfg)
        if recipe.attention:
            for text in (source, *targets):
                backbone_of(model).prompt_tokens(clip, text)
        painted = None if mask is None else _painted(mask, image)
        side = _side(working_size, NATIVE_SIDE[family])
        multiple = latent_scale(model)
        region, size = _part(image, painted, side, multiple)
        plan = EditPlan(
            source=source,
            targets=targets,
            recipe=recipe,
            steps=steps,
            strength=strength,
            seed=seed,
            side=side,
            multiple=multiple,
            margin=max(1, round(recipe.grow * min(size))),
            feather=max(1, round(FEATHER * region.width / size[0])),
            masked=painted is not None,
        )
        notes = [
            f"{why}: {recipe.method}, {'guidance' if recipe.embedded else 'cfg'} {recipe.cfg:g}, at {size[0]} x {size[1]}",
            "before is empty, so that the whole photo may drift; describe what it shows" if not source else "",
            "nothing is painted, so that the edit finds its place by itself"
            if mask is not None and painted is None
            else "",
            f"strength {strength:g} of {steps} steps leaves no step" if strength and not plan.starts else "",
        ]
        text = ". ".join(note for note in notes if note)
        return io.NodeOutput(*build(graph, plan), expand=graph.finish(text), ui=report(cls, text))


def _row(change: Kind | Literal["auto"], source: str, targets: list[str]) -> tuple[Row, str]:
    """The row of the table, and in words where it comes from."""
    row, why = _row_of_kind(change, source, targets)
    if row == "color or material" and all(only_colors_differ(source, target) for target in targets):
        return "color", why
    return row, why


def _row_of_kind(change: Kind | Literal["auto"], source: str, targets: list[str]) -> tuple[Row, str]:
    if change != "auto":
        return change, change
    guesses = {kind_of(source, target) for target in targets}
    kinds: set[Kind] = {guess.kind for guess in guesses}
    if len(kinds) == 1 and all(guess.sure for guess in guesses):
        (kind,) = kinds
        return kind, f"{kind} (read from the sentences)"
    return "unsure", (
        "the sentences do not say clearly what kind of change this is, so the settings are the safest over all kinds (choose "
        "change for better ones)"
    )


def _side(wanted: int, native: int) -> int:
    if 0 < wanted < LEAST_SIDE:
        raise ValueError(
            f"working_size is {wanted}, which is too small for a picture; choose at least {LEAST_SIDE}, or 0 for the model's own "
            f"size, {native}."
        )
    return wanted or native


def _part(image: Tensor, painted: Tensor | None, side: int, multiple: int) -> tuple[Region, tuple[int, int]]:
    """What Working Crop will cut out, and its working size."""
    height, width = image.shape[1:3]
    region = Region(0, 0, width, height) if painted is None else region_around(painted, side, CONTEXT, multiple)
    return region, working_size(region.width, region.height, side, multiple)


def _painted(mask: Tensor, image: Tensor) -> Tensor | None:
    """The mask, or None where nothing is painted: Load Image gives a small empty one for a photo without."""
    mask = checked_mask(mask)
    if not bool(mask.any()):
        return None
    if mask.shape[1:] != image.shape[1:3]:
        raise ValueError(
            f"the mask is {mask.shape[2]} x {mask.shape[1]}, the image {image.shape[2]} x {image.shape[1]}; paint it on this "
            "image in Load Image's mask editor, or resize it."
        )
    if len(mask) > 1:
        raise ValueError(f"there are {len(mask)} masks for one photo; give one.")
    return mask


def _require_prompts(source: str, targets: list[str]) -> None:
    if not targets:
        raise ValueError("after is empty; write what the photo should show.")
    for target in targets:
        if not spans_between(source, target):
            raise ValueError(f"after says the same as before ({target!r:.80}); change the words that should change.")


def _require_photo(image: Tensor) -> None:
    if len(image) > 1:
        raise ValueError(f"image is a batch of {len(image)} photos; edit them one at a time.")
    if image.shape[-1] != 3:
        raise ValueError(f"image has {image.shape[-1]} channels; remove its transparency (Split Image with Alpha).")


def _require_many_steps(graph: Expansion) -> None:
    name = few_step_name(graph.files_above("model"))
    if name is not None:
        raise ValueError(
            f"{name!r} is a model for a few steps (Lightning, LCM, Turbo), which does not follow the path that an inversion "
            "walks; use the plain checkpoint, without its few-step LoRA. To try it anyway, connect Edit Friendly Invert and "
            "Edit Sample."
        )
