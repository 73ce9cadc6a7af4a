"""Editing: any trajectory continued under the same prompt or a different one."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..host.after_step import PullBack
from ..host.edit_guidance import Align, edit_guidance, is_aligned
from ..host.editing import EditOptions, continue_trajectory
from ..host.guided import Conditioning
from ..host.latents import with_samples
from ..host.model_facts import model_facts
from ..host.report import report, step_teller
from ..inversion.trajectory import Trajectory
from .inputs import cfg_input, model_input, positive_input, start_step_input
from .node import RetraceNode
from .trajectory import trajectory_input


class RetraceEditSample(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceEditSample",
            display_name="Edit Sample (Retrace)",
            category="Retrace/Edit",
            description="Continues any trajectory with the matching sampler: the source prompt gives the image "
            "back, another prompt gives an edit. With the source as first row, that row is held on the "
            "trajectory (direct inversion), which attention editing needs.",
            search_aliases=[
                "edit",
                "direct inversion",
                "pnp inversion",
                "edict",
                "edit friendly",
                "ledits",
                "resample",
            ],
            inputs=[
                model_input(),
                trajectory_input(),
                positive_input(
                    "What the result should show. A conditioning with several rows (Prompt to Prompt) gives one "
                    "result for each; the first is the source."
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="If not connected, the trajectory's null embeddings are used. Not needed at cfg 1.",
                ),
                io.Conditioning.Input(
                    "source",
                    optional=True,
                    tooltip="The source prompt: runs beside the edit as its first row.",
                ),
                cfg_input(
                    7.5, "Guidance scale. The cfg of the inversion reconstructs an exact or edit-friendly trajectory."
                ),
                start_step_input("Number of noisiest steps to skip; lower is a stronger edit."),
                io.Boolean.Input(
                    "hold_source",
                    default=True,
                    tooltip="Resets the first of several rows to the trajectory at every step. Plain trajectories "
                    "only; the others reconstruct the source by themselves.",
                ),
                io.Float.Input(
                    "pull_back",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How strongly the state is pulled back to the trajectory after each step, where the "
                    "prompts agree; 0 is off. Use it with Proximal Guidance; plain trajectories only.",
                ),
                io.Int.Input(
                    "pull_back_below",
                    default=400,
                    min=0,
                    max=999,
                    advanced=True,
                    tooltip="Pull back only at timesteps up to this one.",
                ),
                io.Float.Input(
                    "pull_back_quantile",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Fraction of the image, by how little guidance changes it, that counts as unedited.",
                ),
                io.Int.Input(
                    "pull_back_dilation",
                    default=1,
                    min=0,
                    max=32,
                    advanced=True,
                    tooltip="Margin around the edited area, in latent pixels, that is not pulled back either.",
                ),
                io.Combo.Input(
                    "align",
                    options=list(get_args(Align)),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="Evaluates the model where the inversion did, so that the source prompt at the cfg of the inversion "
                    "gives the image back exactly, at no cost. auto: on for flow models, off for Stable Diffusion.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output("latent", tooltip="The edit; with a source row, all rows except that one."),
                io.Latent.Output(
                    "source", tooltip="The final source row; without a source row, the trajectory's own image."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        trajectory: Trajectory,
        positive: Conditioning,
        cfg: float,
        start_step: int,
        hold_source: bool,
        pull_back: float,
        pull_back_below: int,
        pull_back_quantile: float,
        pull_back_dilation: int,
        negative: Conditioning | None = None,
        source: Conditioning | None = None,
        align: Align = "auto",
    ) -> io.NodeOutput:
        facts = model_facts(model)
        trajectory.require_model(facts)
        pull = None
        if pull_back > 0:
            pull = PullBack(
                strength=pull_back,
                below_sigma=facts.level_of(pull_back_below),
                quantile=pull_back_quantile,
                dilation=pull_back_dilation,
            )
        guidance = edit_guidance(model, trajectory, positive, negative, source, cfg)
        options = EditOptions(
            start_step=start_step, hold_source=hold_source, pull_back=pull, align=is_aligned(align, trajectory)
        )
        told = step_teller(cls, trajectory.steps - start_step)
        samples, evaluations = continue_trajectory(guidance, trajectory, options, told)
        has_source = len(samples) > trajectory.latents.shape[1]
        edited, kept = (samples[1:], samples[:1]) if has_source else (samples, trajectory.latents[0])
        text = f"{evaluations} model evaluations for each of {len(samples)} row{'s' if len(samples) > 1 else ''}"
        return io.NodeOutput(with_samples({}, edited), with_samples({}, kept), ui=report(cls, text))
