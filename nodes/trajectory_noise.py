"""A state of a trajectory as NOISE."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.latents import with_samples
from ..host.model_facts import model_facts
from ..host.trajectory_noise import TrajectoryNoise
from ..inversion.trajectory import Trajectory
from .inputs import OTHER_KINDS, start_step_input
from .node import RetraceNode
from .trajectory import trajectory_input


class RetraceTrajectoryNoise(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceTrajectoryNoise",
            display_name="Trajectory Noise (Retrace)",
            category="Retrace/Invert",
            description="Takes the state at a start step from a trajectory as NOISE for SamplerCustomAdvanced, with the clean "
            "latent that it belongs to. Works at every level, also at the noise end of a flow model (Flux, SD3), which no "
            "LATENT can carry.",
            search_aliases=["inverted noise", "noise from trajectory", "unsample", "unsampler flux", "custom noise"],
            inputs=[
                trajectory_input(),
                start_step_input(
                    "Number of noisiest steps to skip; lower is a stronger edit. 0 starts from pure noise."
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that will sample; a trajectory from a different kind of model is refused.",
                ),
            ],
            outputs=[
                io.Noise.Output("noise", tooltip="For SamplerCustomAdvanced, together with the latent and the sigmas."),
                io.Latent.Output("latent", tooltip="The clean image that the noise is added to, for latent_image."),
                io.Sigmas.Output("sigmas", tooltip="The remaining levels, from this state down to the image."),
            ],
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, start_step: int, model: io.Model.Type | None = None) -> io.NodeOutput:
        trajectory.require_plain(OTHER_KINDS)
        if model is not None:
            trajectory.require_model(model_facts(model))
        noise = TrajectoryNoise(trajectory, start_step, cls.title())
        return io.NodeOutput(noise, with_samples({}, trajectory.image()), trajectory.remaining_sigmas(start_step))
