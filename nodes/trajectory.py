"""Trajectories: one state as a LATENT, a preview of all states, and a file."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui

from ..host.images import decoded
from ..host.latents import without_noise_mask
from ..host.model_facts import model_facts
from ..host.report import report
from ..host.trajectory_files import read_trajectory, save_numbered, trajectory_names, trajectory_path
from ..host.trajectory_noise import trajectory_state
from ..inversion.trajectory import Trajectory
from ..measuring.grid import image_grid
from .inputs import OTHER_KINDS, RetraceTrajectory, start_step_input
from .node import RetraceNode

NO_TRAJECTORY = "(no trajectory found: run Save Trajectory, then press R)"


def trajectory_input() -> io.Input:
    return RetraceTrajectory.Input("trajectory", tooltip="From any inversion, Null Text Optimize or Load Trajectory.")


class RetraceTrajectoryLatent(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceTrajectoryLatent",
            display_name="Trajectory Latent (Retrace)",
            category="Retrace/Invert",
            description="Takes the state at a start step from a trajectory, with the remaining noise levels. Any "
            "deterministic sampler continues from there: SamplerCustomAdvanced with DisableNoise and "
            "these sigmas, KSamplerAdvanced with add_noise disabled, or DDIM Sample.",
            search_aliases=["inverted latent", "inverted noise", "start step", "unsample"],
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
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="The latent that was inverted; its other data (batch index) is copied to the output, "
                    "except the noise mask.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The state, with its noise."),
                io.Sigmas.Output("sigmas", tooltip="The remaining levels, from this state down to the image."),
            ],
        )

    @classmethod
    def execute(
        cls,
        trajectory: Trajectory,
        start_step: int,
        model: io.Model.Type | None = None,
        latent: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        trajectory.require_plain(OTHER_KINDS)
        if model is not None:
            trajectory.require_model(model_facts(model))
        if latent is not None:
            trajectory.require_latent_shape(latent["samples"].shape)
        carrier = without_noise_mask(latent or {})
        state, sigmas = trajectory_state(carrier, trajectory, start_step), trajectory.remaining_sigmas(start_step)
        return io.NodeOutput(state, sigmas)


class RetraceTrajectoryPreview(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceTrajectoryPreview",
            display_name="Trajectory Preview (Retrace)",
            category="Retrace/Invert",
            description="Shows the clean image that the model predicts at each step of the inversion, from the "
            "image end to the noise end, as a grid.",
            search_aliases=["contact sheet", "grid", "denoised", "x0"],
            inputs=[
                trajectory_input(),
                io.Vae.Input("vae", tooltip="The model's VAE."),
                io.Int.Input(
                    "pictures", default=16, min=1, max=100, tooltip="Number of states to show, evenly spaced."
                ),
                io.Int.Input("columns", default=8, min=1, max=100, tooltip="Pictures in each row of the grid."),
            ],
            outputs=[io.Image.Output("grid", tooltip="One grid for each image of the batch.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, vae: io.Vae.Type, pictures: int, columns: int) -> io.NodeOutput:
        chosen = trajectory.evenly_spaced_predictions(pictures)
        grid = image_grid([decoded(vae, samples) for samples in chosen], columns)
        return io.NodeOutput(grid, ui=ui.PreviewImage(grid, cls=cls))


class RetraceSaveTrajectory(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceSaveTrajectory",
            display_name="Save Trajectory (Retrace)",
            category="Retrace/Invert",
            description="Saves a trajectory as a .safetensors file in the output folder: invert once, edit many times.",
            search_aliases=["export inversion", "save inversion"],
            inputs=[
                trajectory_input(),
                io.String.Input(
                    "filename_prefix",
                    default="trajectories/retrace",
                    tooltip="File name in the output folder; a number is added. Load Trajectory looks in "
                    "trajectories/.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[RetraceTrajectory.Output("trajectory", tooltip="The same trajectory.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, trajectory: Trajectory, filename_prefix: str) -> io.NodeOutput:
        name = save_numbered(trajectory, filename_prefix)
        return io.NodeOutput(trajectory, ui=report(cls, name))


class RetraceLoadTrajectory(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceLoadTrajectory",
            display_name="Load Trajectory (Retrace)",
            category="Retrace/Invert",
            description="Loads a trajectory that Save Trajectory wrote, from output/trajectories or "
            "input/trajectories.",
            search_aliases=["import inversion", "load inversion"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=trajectory_names() or [NO_TRAJECTORY],
                    tooltip="A trajectory file; press R to see new ones.",
                )
            ],
            outputs=[RetraceTrajectory.Output("trajectory", tooltip="The trajectory as it was saved.")],
        )

    @classmethod
    def validate_inputs(cls, name: str | None) -> bool | str:
        """The reason why the file cannot be read, before anything runs; a linked name is not known yet."""
        try:
            return name is None or bool(trajectory_path(name))
        except ValueError as error:
            return f"{cls.title()}: {error}"

    @classmethod
    def fingerprint_inputs(cls, name: str) -> str:
        stat = trajectory_path(name).stat()
        return f"{name}/{stat.st_mtime_ns}/{stat.st_size}"

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(read_trajectory(name))
