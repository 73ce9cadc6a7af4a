"""Plug and Play: a MODEL patch for a latent batch whose first row is the source."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.self_attention import patch_plug_and_play
from .inputs import unet_input
from .node import RetraceNode


class RetracePlugAndPlay(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePlugAndPlay",
            display_name="Plug and Play: style (Retrace)",
            category="Retrace/Edit",
            description="Keeps the source's layout while the prompt changes everything else, by injecting the "
            "source's features and self-attention into the edit. For changes of style, material or the "
            "whole scene. Sample a batch whose first row is the source and whose other rows are "
            "targets.",
            search_aliases=[
                "pnp",
                "plug and play",
                "style",
                "change style",
                "feature injection",
                "image to image translation",
                "structure",
            ],
            inputs=[
                unet_input(),
                io.Float.Input(
                    "attention_fraction",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fraction of the steps, from the noise end, that use the source's self-attention in the "
                    "decoder.",
                ),
                io.Float.Input(
                    "feature_fraction",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fraction of the steps that use the source's features. Lower it, and "
                    "attention_fraction, for a freer edit.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="The model with the edit, for batches [source, target, ...].")],
        )

    @classmethod
    def execute(cls, model: io.Model.Type, attention_fraction: float, feature_fraction: float) -> io.NodeOutput:
        return io.NodeOutput(patch_plug_and_play(model, attention_fraction, feature_fraction, cls.title()))
