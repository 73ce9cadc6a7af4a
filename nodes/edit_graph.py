"""The graph that Edit Image stands for: the pack's own nodes and ComfyUI's, by a row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..editing.blend_words import AUTO
from ..editing.recipes import FeatureInjection, MutualAttention, Recipe
from ..host.expansion import Expansion, Link, NewNode
from ..inversion.methods import METHODS, Family
from ..samplers.blend_mask import LATENT_SCALE

CONTEXT = 0.5
SMALLEST_DIFFERENCE = 0.06
MAP_CELLS = 16
INVERTERS: Mapping[Family, str] = {
    "ddim": "RetraceDDIMInvert",
    "noise maps": "RetraceEditFriendlyInvert",
    "flow": "RetraceFlowInvert",
}
SCHEDULE = {"spacing": "leading", "terminal": "clean"}


@dataclass(frozen=True, kw_only=True)
class EditPlan:
    """An edit, decided.

    Attributes:
        source: the prompt of the photo.
        targets: one prompt for each edit.
        recipe: the row, with the cfg that the user wants.
        steps, strength, seed: as in the node.
        side, multiple: of the working size, see Working Crop.
        margin, feather: around what changed, in pixels of the working size and of the photo.
        masked: whether a painted mask says where the photo may change.
    """

    source: str
    targets: Sequence[str]
    recipe: Recipe
    steps: int
    strength: float
    seed: int
    side: int
    multiple: int
    margin: int
    feather: int
    masked: bool

    @property
    def whole(self) -> bool:
        """Whether the whole picture comes from the edit."""
        return self.recipe.returns == "whole" and not self.masked

    @property
    def starts(self) -> Mapping[str, int]:
        """The edits to be sampled, that of the result last: a name, and the step at which it begins.

        A weaker edit also needs the full one where that finds the place of the change.
        """
        start, full = (self.recipe.start_step(self.steps, strength) for strength in (self.strength, 1.0))
        if start == self.steps:
            return {}
        return {"edit": start} if self.whole or self.masked or start == full else {"edit": full, "weaker_edit": start}


def build(graph: Expansion, plan: EditPlan) -> tuple[Link, Link, Link]:
    """Add the nodes of the edit; the links of its image, comparison and mask."""
    image, vae = graph.linked("image"), graph.linked("vae")
    mask = graph.linked("mask") if plan.masked else None
    sizes = {"side": plan.side, "context": CONTEXT, "multiple": plan.multiple}
    crop = graph.node("crop", "RetraceWorkingCrop", image=image, mask=mask, **sizes)
    encoded = graph.node("encode", "VAEEncode", pixels=crop.out(0), vae=vae)
    round_trip = graph.node("round_trip", "VAEDecode", samples=encoded.out(0), vae=vae)
    if plan.starts:
        samples = _edits(graph, plan, encoded.out(0), crop.out(1))
    else:
        repeated = graph.node("repeat", "RepeatLatentBatch", samples=encoded.out(0), amount=len(plan.targets))
        samples = {"repeated": repeated.out(0)}
    decoded = [
        graph.node(f"decode_{name}", "VAEDecode", samples=each, vae=vae).out(0) for name, each in samples.items()
    ]
    composited = _composited(graph, plan, crop, decoded, round_trip.out(0))
    comparison = graph.node(
        "comparison", "ImageStitch", image1=image, image2=composited[0], direction="right", match_image_size=True,
        spacing_width=0, spacing_color="white",
    )  # fmt: skip
    return composited[0], comparison.out(0), composited[1]


def _edits(graph: Expansion, plan: EditPlan, latent: Link, part: Link) -> Mapping[str, Link]:
    """The samples of each edit in `plan.starts`."""
    recipe, model, clip = plan.recipe, graph.linked("model"), graph.linked("clip")
    before = graph.node("before", "CLIPTextEncode", clip=clip, text=plan.source)
    empty = graph.node("empty", "CLIPTextEncode", clip=clip, text="")
    inversion = {"positive": before.out(0), "negative": empty.out(0), "latent": latent, "cfg": recipe.inversion_cfg}
    inverter = INVERTERS[METHODS[recipe.inversion].family]
    inversion |= {"steps": plan.steps, **_inversion_settings(plan)}
    trajectory = graph.node("invert", inverter, "inverting the photo", model=model, **inversion)
    if recipe.attention:
        pairs = [_together(graph, plan, part)]
    else:
        pairs = [(model, _prompt(graph, recipe, target, number)) for number, target in enumerate(plan.targets)]
    samples = {}
    for name, start_step in plan.starts.items():
        rows = [
            graph.node(
                f"{name}_{number}" if number else name, "RetraceEditSample", _phase(plan, name, number, len(pairs)),
                model=edited, trajectory=trajectory.out(0),
                positive=positive, negative=empty.out(0), cfg=1.0 if recipe.embedded else recipe.cfg,
                start_step=start_step, hold_source=True, pull_back=0.0, pull_back_below=400, pull_back_quantile=0.7,
                pull_back_dilation=1,
            ).out(0)
            for number, (edited, positive) in enumerate(pairs)
        ]  # fmt: skip
        samples[name] = _batched(graph, name, rows)
    return samples


def _phase(plan: EditPlan, name: str, number: int, count: int) -> str:
    """What one sampling of `count` is for, in words."""
    phase = "editing" if name == [*plan.starts][-1] else "finding the place of the change"
    return phase if count == 1 else f"{phase}, sentence {number + 1} of {count}"


def _together(graph: Expansion, plan: EditPlan, part: Link) -> tuple[Link, Link]:
    """The model that shares attention between source and edits, and the conditioning of all of them."""
    recipe, model, clip = plan.recipe, graph.linked("model"), graph.linked("clip")
    prompts = graph.node(
        "prompts", "RetracePromptToPrompt", model=model, clip=clip, source_prompt=plan.source,
        target_prompts="\n".join(plan.targets), mode="auto", cross_replace=recipe.cross_replace,
        self_replace=recipe.self_replace, reweight="", blend_words=AUTO if recipe.blend and plan.source else "",
        blend_threshold=recipe.blend, blend_start=0.2, subtract_words="", subtract_threshold=0.3, cross_replace_words="",
        self_replace_layers="half", blend_layers=_blend_layers(plan.side), blend_mask=part if plan.masked else None,
    )  # fmt: skip
    return _controlled(graph, recipe.control, prompts.out(0)), prompts.out(1)


def _blend_layers(side: int) -> str:
    """The layers whose maps have the reference's 16 cells a side, which it reads at 512 pixels, or the nearest above.

    A word's region is a few cells wide: with fewer of them it takes in what is around the object.
    """
    cells = side // (LATENT_SCALE * MAP_CELLS)
    return "quarter" if cells >= 4 else "half" if cells >= 2 else "full"


def _prompt(graph: Expansion, recipe: Recipe, text: str, number: int) -> Link:
    """The conditioning of one edit."""
    encoded = graph.node(f"after_{number}", "CLIPTextEncode", clip=graph.linked("clip"), text=text).out(0)
    if not recipe.embedded:
        return encoded
    return graph.node(f"guidance_{number}", "FluxGuidance", conditioning=encoded, guidance=recipe.cfg).out(0)


def _batched(graph: Expansion, name: str, rows: Sequence[Link]) -> Link:
    """The samples of several edits as one batch."""
    batch = rows[0]
    for number, row in enumerate(rows[1:], 1):
        batch = graph.node(f"{name}_batch_{number}", "LatentBatch", samples1=batch, samples2=row).out(0)
    return batch


def _inversion_settings(plan: EditPlan) -> Mapping[str, Any]:
    """Of the one inverter or the other; a seed only where noise is drawn, so that a new one changes nothing elsewhere."""
    method = METHODS[plan.recipe.inversion]
    if method.draws_noise:
        return {"seed": plan.seed, "solver": "ddpm", "eta": 1.0, **SCHEDULE}
    iterations = {"fixed_point_iterations": plan.recipe.fixed_point_iterations, "acceleration": "none"}
    if method.family == "flow":
        return {**iterations, "solver": plan.recipe.inversion, "guidance": 1.0, "seed": 0}
    return {**iterations, "method": plan.recipe.inversion, **SCHEDULE}


def _controlled(graph: Expansion, control: MutualAttention | FeatureInjection | None, model: Link) -> Link:
    if isinstance(control, MutualAttention):
        settings = {"start_step": control.start_step, "start_layer": control.start_layer}
        return graph.node("control", "RetraceMasaCtrl", model=model, **settings).out(0)
    if isinstance(control, FeatureInjection):
        settings = {"attention_fraction": control.attention, "feature_fraction": control.features}
        return graph.node("control", "RetracePlugAndPlay", model=model, **settings).out(0)
    return model


def _composited(
    graph: Expansion, plan: EditPlan, crop: NewNode, decoded: Sequence[Link], round_trip: Link
) -> tuple[Link, Link]:
    """The picture at the photo's size and the mask of what it took from the edit, the last of `decoded`.

    The first is the full edit, whose place a weaker one keeps to: a region of its own could lie outside a stronger edit's.
    """
    mask = crop.out(1)
    if not (plan.whole or plan.masked):
        mask = graph.node(
            "changed", "RetraceChangedRegion", edited=decoded[0], round_trip=round_trip, smallest=SMALLEST_DIFFERENCE,
            grow=plan.margin, feather=max(1, plan.margin // 2),
        ).out(0)  # fmt: skip
    # Without an edit the difference is zero: the photo itself.
    otherwise = "around the change" if plan.starts else "everywhere"
    composite = graph.node(
        "composite", "RetracePixelComposite", source=graph.linked("image"), edited=decoded[-1], mask=mask,
        feather=0 if plan.whole else plan.feather, match_colour=False, blend="feather", region=crop.out(2),
        round_trip=None if plan.whole else round_trip,
        kept_texture="everywhere, edges too" if plan.recipe.returns == "difference" else otherwise,
    )  # fmt: skip
    return composite.out(0), composite.out(1)
