"""Find a word in a picture, or where two prompts differ: a mask from the model's own attention or predictions."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io

from ..attention.masks import difference_map, map_to_mask, mean_map, resize_maps
from ..attention.prompt_edit import find_words
from ..attention.words import parse_words
from ..host.attention_maps import read_noise, read_word_maps, trajectory_levels
from ..host.backbones import backbone_of
from ..host.latents import picture_size
from ..host.model_facts import model_facts
from ..inversion.trajectory import Trajectory
from ..measuring.compare import heat_colors
from .inputs import unet_input
from .node import RetraceNode
from .trajectory import trajectory_input


class RetraceAttentionMask(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceAttentionMask",
            display_name="Attention Mask (Retrace)",
            category="Retrace/Edit",
            description="Finds an object in an inverted image by its word: evaluates the model at some levels of "
            "the trajectory and maps its attention to the word, or the difference between its "
            "predictions under two prompts (DiffEdit). Returns a heat map and a rough mask, for "
            "inpainting, blending and MasaCtrl.",
            search_aliases=[
                "daam",
                "diffedit",
                "segment by word",
                "text to mask",
                "attention map",
                "cross-attention",
                "heat map",
            ],
            inputs=[
                unet_input(),
                io.Clip.Input("clip", tooltip="The model's text encoder."),
                trajectory_input(),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    tooltip="A description of the image: the prompt that it was inverted with.",
                ),
                io.DynamicCombo.Input(
                    "method",
                    options=[
                        io.DynamicCombo.Option(
                            "words",
                            [io.String.Input("words", default="", tooltip="Words of the prompt, separated by commas.")],
                        ),
                        io.DynamicCombo.Option(
                            "difference",
                            [
                                io.String.Input(
                                    "target_prompt",
                                    multiline=True,
                                    tooltip="What the image should show instead (DiffEdit).",
                                )
                            ],
                        ),
                    ],
                    tooltip="words: where the model attends to them. difference: where the noise predicted under "
                    "two prompts differs.",
                ),
                io.Int.Input(
                    "levels",
                    default=8,
                    min=1,
                    max=100,
                    tooltip="Number of noise levels at which the model is evaluated; each costs one model call, two "
                    "for difference.",
                ),
                _part(
                    "cleanest",
                    0.2,
                    "The level nearest to the image, as a fraction of the path from the image (0) to the noise (1).",
                ),
                _part("noisiest", 0.7, "The level nearest to the noise, as a fraction of the same path."),
                io.Combo.Input(
                    "threshold",
                    options=["otsu", "value"],
                    default="otsu",
                    tooltip="otsu picks a threshold for each image by Otsu's method; value uses threshold_value.",
                ),
                _part("threshold_value", 0.5, "Areas of the heat map above this value belong to the mask."),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-256,
                    max=256,
                    tooltip="Grows the mask by this many pixels; negative values shrink it.",
                ),
                io.Int.Input("feather", default=0, min=0, max=256, tooltip="Width of the soft edge in pixels."),
            ],
            outputs=[
                io.Image.Output("heat_map", tooltip="The map in color, from dark (nothing) to bright."),
                io.Mask.Output("mask", tooltip="A rough mask of the object, at the image's size."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        clip: io.Clip.Type,
        trajectory: Trajectory,
        prompt: str,
        method: dict[str, Any],
        levels: int,
        cleanest: float,
        noisiest: float,
        threshold: str,
        threshold_value: float,
        grow: int,
        feather: int,
    ) -> io.NodeOutput:
        trajectory.require_model(model_facts(model))
        backbone = backbone_of(model)
        size = picture_size(model, trajectory.latents)
        chosen = trajectory_levels(trajectory, cleanest, noisiest, levels)
        positive = backbone.encode_rows(clip, [prompt])
        if method["method"] == "words":
            words = parse_words(method["words"])
            if not words:
                raise ValueError("words is empty; enter a word of the prompt.")
            tokenize = partial(backbone.prompt_tokens, clip)
            (tokens,) = find_words(words, "words", [tokenize(prompt)], tokenize)
            maps = mean_map(read_word_maps(model, trajectory, positive, tokens, chosen), size)
        else:
            target = backbone.encode_rows(clip, [method["target_prompt"]])
            noise, target_noise = (read_noise(model, trajectory, each, chosen) for each in (positive, target))
            maps = resize_maps(difference_map(noise, target_noise), size)
        maps = maps.cpu()
        mask = map_to_mask(maps, None if threshold == "otsu" else threshold_value, grow, feather)
        return io.NodeOutput(heat_colors(maps), mask)


def _part(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)
