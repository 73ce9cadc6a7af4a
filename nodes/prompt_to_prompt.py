"""Prompt-to-prompt: changes words and keeps the rest."""

from __future__ import annotations

from functools import partial
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..attention.alignment import Mode
from ..attention.prompt_edit import EditSettings, make_edit
from ..editing.blend_words import AUTO, differing_words, shared_things
from ..host.backbones import backbone_of
from ..host.naming import named
from ..host.prompt_to_prompt import patch_prompt_to_prompt
from ..samplers.blend_mask import checked_mask, require_painted
from .inputs import unet_input
from .node import RetraceNode

RESOLUTIONS = {"full": 0, "half": 1, "quarter": 2}


class RetracePromptToPrompt(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePromptToPrompt",
            display_name="Prompt to Prompt: change words (Retrace)",
            category="Retrace/Edit",
            description="Changes words of a prompt and keeps the rest by taking attention maps from the source. "
                        "Returns a patched model and one conditioning with a row for the source prompt and for each "
                        "target; sample a latent batch with the same number of rows, the first of which is the "
                        "source.",
            search_aliases=[
                "p2p", "prompt-to-prompt", "change word", "word swap", "attention control", "reweight", "local blend", "edit",
            ],
            inputs=[
                unet_input(),
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                io.String.Input("source_prompt", multiline=True, tooltip="A description of the image: the prompt "
                                                                         "that it was inverted with."),
                io.String.Input(
                    "target_prompts",
                    multiline=True,
                    tooltip="What it should show: the source prompt with only the changed words replaced. Each line "
                            "is a separate edit.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(get_args(Mode)),
                    default="auto",
                    tooltip="replace swaps word for word; refine keeps the words that both prompts share. auto uses "
                            "replace if the prompts have the same number of words and the shared ones are at the "
                            "same positions.",
                ),
                _fraction("cross_replace", 0.8, "that use the source's cross-attention. Lower it for a freer change "
                                                "of shape"),
                _fraction("self_replace", 0.4, "that use the source's self-attention, which fixes layout and outlines"),
                io.String.Input(
                    "reweight",
                    default="",
                    tooltip="word:factor, word:factor. Strengthens or weakens a word of the target: 2 doubles its "
                            "attention.",
                ),
                io.String.Input(
                    "blend_words",
                    default="",
                    tooltip="Local blend: words for the objects that change, in source and target, separated by "
                            "commas; auto takes the words that differ between the prompts. Outside their region the "
                            "picture equals the source. Leave it empty to change the background. Without blend_words, "
                            "subtract_words and blend_mask there is no local blend.",
                ),
                io.Float.Input(
                    "blend_threshold",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fraction of a word's strongest attention above which a pixel belongs to the object; "
                            "lower for a larger region.",
                ),
                io.Float.Input(
                    "blend_start",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Fraction of the steps before local blend begins.",
                ),
                io.String.Input(
                    "subtract_words",
                    default="",
                    advanced=True,
                    tooltip="Objects to keep: their regions are removed from the local blend; auto takes the things that "
                            "all prompts name. Without blend_words, everything except them may change.",
                ),
                io.Float.Input(
                    "subtract_threshold", default=0.3, min=0.0, max=1.0, step=0.01, advanced=True,
                    tooltip="Like blend_threshold, for subtract_words.",
                ),
                io.String.Input(
                    "cross_replace_words",
                    default="",
                    advanced=True,
                    tooltip="word:fraction, word:fraction. A different cross_replace for these words of the targets.",
                ),
                io.Combo.Input(
                    "self_replace_layers",
                    options=list(RESOLUTIONS),
                    default="half",
                    advanced=True,
                    tooltip="The largest layers whose self-attention is replaced, by their side length relative to "
                            "the latent. half is the reference's 32 x 32 at 512 pixels.",
                ),
                io.Combo.Input(
                    "blend_layers",
                    options=list(RESOLUTIONS),
                    default="quarter",
                    advanced=True,
                    tooltip="The largest layers whose attention local blend reads, with those between them and a "
                            "quarter of the latent's side length. quarter is the reference's 16 x 16 at 512 pixels; "
                            "larger layers give finer regions.",
                ),
                io.Mask.Input(
                    "blend_mask",
                    optional=True,
                    tooltip="Where the picture may change: painted, or from Attention Mask. Outside it the picture "
                            "equals the source. With blend_words or subtract_words, only their region inside the "
                            "mask changes. One mask, or one for each target.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with the edit, for batches [source, target, ...]."),
                io.Conditioning.Output("conditioning", tooltip="The prompts, one row each, for the sampler's "
                                                               "positive input."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        clip: io.Clip.Type,
        source_prompt: str,
        target_prompts: str,
        mode: Mode,
        cross_replace: float,
        self_replace: float,
        reweight: str,
        blend_words: str,
        blend_threshold: float,
        blend_start: float,
        subtract_words: str,
        subtract_threshold: float,
        cross_replace_words: str,
        self_replace_layers: str,
        blend_layers: str,
        blend_mask: Tensor | None = None,
    ) -> io.NodeOutput:
        backbone = backbone_of(model)
        targets = [line.strip() for line in target_prompts.splitlines() if line.strip()]
        if not targets:
            raise ValueError("target_prompts is empty; write what the image should show.")
        source = source_prompt.strip()
        if blend_words.strip() == AUTO:
            blend_words = ", ".join(differing_words(source, targets))
            if not blend_words:
                raise ValueError(
                    "blend_words is auto, but the prompts have the same words; name the words that change, or leave it empty."
                )
        if subtract_words.strip() == AUTO:
            subtract_words = ", ".join(shared_things(source, targets))
            if not subtract_words:
                raise ValueError(
                    "subtract_words is auto, but no thing is named in all prompts; name what is to stay, or leave it empty."
                )
        region = None if blend_mask is None else _painted_region(blend_mask)
        settings = EditSettings(
            mode=mode,
            cross_fraction=cross_replace,
            self_fraction=self_replace,
            word_fractions=cross_replace_words,
            reweight=reweight,
            blend_words=blend_words,
            blend_threshold=blend_threshold,
            blend_start=blend_start,
            subtract_words=subtract_words,
            subtract_threshold=subtract_threshold,
            blend_region=region,
        )
        edit = make_edit(source, targets, settings, partial(backbone.prompt_tokens, clip))
        conditioning = backbone.encode_rows(clip, [source, *targets])
        resolutions = RESOLUTIONS[self_replace_layers], RESOLUTIONS[blend_layers]
        patched = patch_prompt_to_prompt(model, edit, *resolutions, cls.title())
        return io.NodeOutput(patched, conditioning)


def _painted_region(mask: Tensor) -> Tensor:
    """The blend_mask as [B, 1, H, W]."""
    region = checked_mask(mask)[:, None]
    with named("blend_mask"):
        require_painted(region, "paint on the image in Load Image's mask editor, or disconnect the mask")
    return region


def _fraction(name: str, default: float, what: str) -> io.Input:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"Fraction of the steps, from the noise end, {what}.",
    )
