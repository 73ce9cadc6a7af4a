"""Prompt-to-prompt: one word changes and the rest stays."""

from __future__ import annotations

from functools import partial
from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..attention.alignment import Mode
from ..attention.prompt_edit import EditSettings, make_edit
from ..host.backbones import backbone_of
from ..host.prompt_to_prompt import patch_prompt_to_prompt
from ..samplers.blend_mask import checked_mask
from .inputs import model_input
from .node import RetraceNode

RESOLUTIONS = {"full": 0, "half": 1, "quarter": 2}


class RetracePromptToPrompt(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePromptToPrompt",
            display_name="Prompt to Prompt (Retrace)",
            category="retrace/editing",
            description="Changes words of a prompt while the edit takes its attention maps from the source, to keep the rest. "
            "Gives a patched model and one conditioning with a row for the source prompt and for each target; sample a latent "
            "batch with as many rows, the first of which is the source.",
            search_aliases=["p2p", "prompt-to-prompt", "word swap", "attention control", "reweight", "local blend", "edit"],
            inputs=[
                model_input(),
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                io.String.Input("source_prompt", multiline=True, tooltip="What the image shows, as it was inverted with."),
                io.String.Input(
                    "target_prompts",
                    multiline=True,
                    tooltip="What it shall show: the same words but for what changes. Each line is a target of its own.",
                ),
                io.Combo.Input(
                    "mode",
                    options=list(get_args(Mode)),
                    default="auto",
                    tooltip="replace swaps word for word, refine keeps the words that both prompts share. auto swaps where the "
                    "prompts have equally many words and the shared ones stand at the same places.",
                ),
                _fraction("cross_replace", 0.8, "with the source's attention to words. Lower it for a freer change of shape"),
                _fraction("self_replace", 0.4, "with the source's self-attention, which holds the layout and the outlines"),
                io.String.Input(
                    "reweight",
                    default="",
                    tooltip="word:factor, word:factor. More or less of a word of the target: 2 doubles the attention that it gets.",
                ),
                io.String.Input(
                    "blend_words",
                    default="",
                    tooltip="Local blend: words, separated by commas, of the things that change, in the source and in the target. "
                    "Outside their region the picture stays the source's. Leave it empty for another background. Without them, "
                    "subtract_words and blend_mask: no local blend.",
                ),
                io.Float.Input(
                    "blend_threshold",
                    default=0.3,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of a word's strongest attention counts as the thing itself. Lower makes the region larger.",
                ),
                io.Float.Input(
                    "blend_start",
                    default=0.2,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="The part of the steps before the local blend begins.",
                ),
                io.String.Input(
                    "subtract_words",
                    default="",
                    advanced=True,
                    tooltip="Things that stay: their regions are taken out of the local blend. Without blend_words everything but "
                    "them may change.",
                ),
                io.Float.Input(
                    "subtract_threshold", default=0.3, min=0.0, max=1.0, step=0.01, advanced=True,
                    tooltip="As blend_threshold, for subtract_words.",
                ),
                io.String.Input(
                    "cross_replace_words",
                    default="",
                    advanced=True,
                    tooltip="word:fraction, word:fraction. Another cross_replace for these words of the targets.",
                ),
                io.Combo.Input(
                    "self_replace_layers",
                    options=list(RESOLUTIONS),
                    default="half",
                    advanced=True,
                    tooltip="The largest layers, by their side relative to the latent's, whose self-attention is replaced. half is "
                    "the reference's 32 x 32 at 512 pixels.",
                ),
                io.Combo.Input(
                    "blend_layers",
                    options=list(RESOLUTIONS),
                    default="quarter",
                    advanced=True,
                    tooltip="The largest layers whose attention the local blend reads, with those between them and a quarter of "
                    "the latent's side. quarter is the reference's 16 x 16 at 512 pixels; larger ones give finer regions.",
                ),
                io.Mask.Input(
                    "blend_mask",
                    optional=True,
                    tooltip="Where the picture may change, painted or found (Attention Mask): outside of it it stays the source's. "
                    "With blend_words or subtract_words only what lies in their region, too. One mask, or one for each target.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with the edit, for batches [source, target, ...]."),
                io.Conditioning.Output("conditioning", tooltip="The prompts, a row each, for the sampler's positive input."),
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
        region = None if blend_mask is None else checked_mask(blend_mask)[:, None]
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
        edit = make_edit(source_prompt.strip(), targets, settings, partial(backbone.prompt_tokens, clip))
        conditioning = backbone.encode_rows(clip, [source_prompt.strip(), *targets])
        resolutions = RESOLUTIONS[self_replace_layers], RESOLUTIONS[blend_layers]
        patched = patch_prompt_to_prompt(model, edit, *resolutions, cls.title())
        return io.NodeOutput(patched, conditioning)


def _fraction(name: str, default: float, what: str) -> io.Input:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip=f"The part of the steps, from the noise end, {what}.",
    )


NODES: list[type[io.ComfyNode]] = [RetracePromptToPrompt]
