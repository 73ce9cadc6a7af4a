"""Where a word is in a picture, or where two prompts differ: the UNet's own answer as a mask."""

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
from ..measuring.compare import heat_colours
from .inputs import model_input
from .node import RetraceNode
from .trajectory import trajectory_input


class RetraceAttentionMask(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceAttentionMask",
            display_name="Attention Mask (Retrace)",
            category="retrace/editing",
            description="Finds a thing in an inverted image by its word: asks the model at some levels of the trajectory where "
            "it looks for the word, or where its answers to two prompts differ (DiffEdit). Gives a heat map and a rough mask, "
            "for inpainting, blending and MasaCtrl.",
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
                model_input(),
                io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
                trajectory_input(),
                io.String.Input("prompt", multiline=True, tooltip="What the image shows, as it was inverted with."),
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
                                    tooltip="What the image shall show instead (DiffEdit).",
                                )
                            ],
                        ),
                    ],
                    tooltip="words: where the model looks for them. difference: where two prompts make it see another noise.",
                ),
                io.Int.Input(
                    "levels",
                    default=8,
                    min=1,
                    max=100,
                    tooltip="At how many noise levels the model is asked; each is one model call, two for difference.",
                ),
                _part(
                    "cleanest",
                    0.2,
                    "The level nearest to the image: the part of the way from the image (0) to the noise (1).",
                ),
                _part("noisiest", 0.7, "The level nearest to the noise, likewise."),
                io.Combo.Input(
                    "threshold",
                    options=["otsu", "value"],
                    default="otsu",
                    tooltip="otsu divides each image's map by Otsu's method; value takes threshold_value.",
                ),
                _part("threshold_value", 0.5, "What lies above it in the heat map is in the mask."),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-256,
                    max=256,
                    tooltip="Pixels by which the mask grows; shrinks it if negative.",
                ),
                io.Int.Input("feather", default=0, min=0, max=256, tooltip="Pixels over which the mask's edge fades."),
            ],
            outputs=[
                io.Image.Output("heat_map", tooltip="The map in colours, from dark (nothing) to bright."),
                io.Mask.Output("mask", tooltip="Roughly the thing, at the image's size."),
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
                raise ValueError("words is empty; write a word of the prompt.")
            tokenize = partial(backbone.prompt_tokens, clip)
            (tokens,) = find_words(words, "words", [tokenize(prompt)], tokenize)
            maps = mean_map(read_word_maps(model, trajectory, positive, tokens, chosen), size)
        else:
            target = backbone.encode_rows(clip, [method["target_prompt"]])
            noise, target_noise = (read_noise(model, trajectory, each, chosen) for each in (positive, target))
            maps = resize_maps(difference_map(noise, target_noise), size)
        maps = maps.cpu()
        mask = map_to_mask(maps, None if threshold == "otsu" else threshold_value, grow, feather)
        return io.NodeOutput(heat_colours(maps), mask)


def _part(name: str, default: float, tooltip: str) -> io.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


NODES: list[type[io.ComfyNode]] = [RetraceAttentionMask]
