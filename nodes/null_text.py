"""Null-text optimization: a node that finds the embeddings, and one that returns them from a loaded trajectory."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io, ui
from torch import Tensor

from ..host.guided import Conditioning, Guidance
from ..host.model_facts import model_facts
from ..host.negative import null_text_conditioning
from ..host.null_text import optimize
from ..host.report import report, step_teller
from ..inversion.null_text import Method, NullTextOptions
from ..inversion.trajectory import Trajectory
from ..measuring.plots import loss_plot
from .inputs import OTHER_KINDS, RetraceTrajectory, cfg_input, model_input, negative_input, positive_input
from .node import RetraceNode
from .trajectory import trajectory_input


class RetraceNullTextOptimize(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceNullTextOptimize",
            display_name="Null Text Optimize (Retrace)",
            category="Retrace/Invert",
            description="Optimizes an embedding of the empty prompt for every step, with which guided sampling "
            "reconstructs an inverted image. Guided edits then keep what the new prompt does not name.",
            search_aliases=["null text inversion", "nti", "null-text", "pivotal tuning", "optimize uncond"],
            inputs=[
                model_input(),
                trajectory_input(),
                positive_input("The prompt that the image was inverted with."),
                negative_input(
                    "Starting point of the optimization: the empty prompt. Starting from the source prompt is "
                    "faster but weakens edits."
                ),
                cfg_input(7.5, "Guidance scale of the edit."),
                io.Int.Input(
                    "inner_steps",
                    default=10,
                    min=0,
                    max=500,
                    tooltip="Maximum number of optimizer steps for each sampling step; each is a forward and a "
                    "backward pass.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=0.01,
                    min=0.0001,
                    max=1.0,
                    step=0.0001,
                    round=False,
                    advanced=True,
                    tooltip="reference: Adam's learning rate at the first step. fast: 0.01 takes the full computed "
                    "step length; lower is more careful.",
                ),
                io.Float.Input(
                    "epsilon",
                    default=1e-5,
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    advanced=True,
                    tooltip="A sampling step is finished when its loss is below this, which rises by 0.00002 a "
                    "step, as published.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(get_args(Method)),
                    default="fast",
                    tooltip="fast is our own method and avoids redundant work. reference is the published loop, for "
                    "comparisons; at most 100 steps.",
                ),
                io.Boolean.Input(
                    "residual",
                    default=False,
                    tooltip="Stores the error that remains after each step. Edit Sample adds it back, which makes "
                    "the reconstruction exact, also in half precision, so 2 inner steps are enough. Stock "
                    "samplers ignore it.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                RetraceTrajectory.Output("trajectory", tooltip="The trajectory with its null embeddings."),
                io.Conditioning.Output(
                    "negative", tooltip="The null embeddings, for the negative input of any sampler."
                ),
                io.Image.Output("loss", tooltip="The loss of every step before and after, as a plot."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        trajectory: Trajectory,
        positive: Conditioning,
        negative: Conditioning,
        cfg: float,
        inner_steps: int,
        learning_rate: float,
        epsilon: float,
        method: Method,
        residual: bool,
    ) -> io.NodeOutput:
        trajectory.require_model(model_facts(model))
        trajectory.require_plain(OTHER_KINDS)
        options = NullTextOptions(
            cfg=cfg,
            inner_steps=inner_steps,
            learning_rate=learning_rate,
            epsilon=epsilon,
            keep_residual=residual,
        )

        told = step_teller(cls, trajectory.steps)

        def progress(step: int, inner: int, loss: float, x: Tensor, denoised: Tensor) -> None:
            told(step + 1, f"inner step {inner}: loss {loss:.2e}")

        optimized, found = optimize(Guidance(model, positive, negative, cfg), trajectory, options, method, progress)
        conditioning = null_text_conditioning(optimized, negative)
        thresholds = [options.threshold(step) for step in range(trajectory.steps)]
        plot = loss_plot(
            found.losses, thresholds, f"null-text loss, {method}, cfg {cfg:g}: model work {found.unet_work}"
        )
        text = f"model work {found.unet_work} (a forward pass 1, a backward pass 2)"
        return io.NodeOutput(optimized, conditioning, plot, ui=report(cls, text, ui.PreviewImage(plot, cls=cls)))


class RetraceNullTextConditioning(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceNullTextConditioning",
            display_name="Null Text Conditioning (Retrace)",
            category="Retrace/Invert",
            description="Returns the null embeddings of a loaded trajectory as a negative for any sampler: one "
            "entry for each step, active only at its own noise level.",
            search_aliases=["null text", "nti", "negative", "load null embeddings"],
            inputs=[
                trajectory_input(),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="A negative whose other settings (ControlNet, size) the entries should carry.",
                ),
            ],
            outputs=[
                io.Conditioning.Output("negative", tooltip="For the negative input, at the cfg of the optimization.")
            ],
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, negative: Conditioning | None = None) -> io.NodeOutput:
        return io.NodeOutput(null_text_conditioning(trajectory, negative))
