"""What a trajectory knows of the model and of the run that made it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor

from ..samplers.path import Path, RectifiedFlow, VarianceExploding
from ..samplers.prediction import Prediction
from ..samplers.schedule import Grid, Schedule, Spacing, Terminal, make_schedule, simple_schedule

SIGMA_TABLE_TOLERANCE = 1e-4
LAST_TIMESTEP = 999
"""Where timesteps end for a user, whatever the length of a model's table."""


@dataclass(frozen=True)
class ModelFacts:
    """What decides whether a trajectory and a model belong together.

    Attributes:
        sigma_table: float32 [T], ascending.
        prediction: what the network predicts; "flow" is the velocity of a rectified flow.
        latent_format: the name of the latent space ("SD15", "SDXL", ...).
        weights: a digest of the model and its patches; another one is a warning, not an error.
        noise_scale: of a flow, see `samplers.path.RectifiedFlow`.
    """

    sigma_table: Tensor
    prediction: Prediction
    latent_format: str
    weights: str
    noise_scale: float = 1.0

    @property
    def path(self) -> Path:
        """How the model's states are made."""
        return RectifiedFlow(self.noise_scale) if self.prediction == "flow" else VarianceExploding()

    def schedule(self, steps: int, spacing: Spacing, terminal: Terminal) -> Schedule:
        """N steps over the model's levels; a flow has one way to spread them, `simple_schedule`.

        Raises ValueError as `make_schedule` does, and on a flow for a spacing or terminal that is not the default.
        """
        if self.prediction != "flow":
            return make_schedule(self.sigma_table, steps, spacing, terminal)
        if (spacing, terminal) != ("leading", "clean"):
            raise ValueError(
                f"spacing {spacing!r} with terminal {terminal!r} are Stable Diffusion's, but the model is a flow, whose steps "
                "follow its own shift and end at level 0; set spacing to 'leading' and terminal to 'clean'."
            )
        return simple_schedule(self.sigma_table, steps)

    def level_of(self, timestep: int) -> float:
        """The level at a timestep 0 to 999: of a longer or shorter table the row at the same share of it."""
        return float(self.sigma_table[round(timestep * (len(self.sigma_table) - 1) / LAST_TIMESTEP)])

    def percent_of(self, row: float) -> float:
        """The percentage of a run that ComfyUI gives the level at a row of the table, between two rows a share of them.

        It reads a percentage p as the timestep 999 (1 - p) of a discrete model, whatever the table's length; on a flow a table
        of T rows holds the times 1/T to 1, and p is the time 1 - p.
        """
        if self.prediction == "flow":
            return 1 - (row + 1) / len(self.sigma_table)
        return 1 - row / LAST_TIMESTEP

    def require_same(self, model: ModelFacts) -> None:
        """Raise ValueError unless a trajectory of this model continues in the other one.

        They need the same path, latent space and prediction and, where levels are rows of a table, the same table; the levels of
        a flow are continuous, so that another shift of them does not matter. Other weights (a LoRA, a sibling checkpoint)
        only earn a logged warning.
        """
        if self.path != model.path:
            raise ValueError(
                f"the trajectory's prediction is {self.prediction!r}, but the model's is {model.prediction!r}, a different "
                "family of models; invert the image again with this model."
            )
        ours, theirs = self.sigma_table, model.sigma_table
        if self.prediction != "flow" and (
            len(ours) != len(theirs) or not torch.allclose(ours, theirs, rtol=SIGMA_TABLE_TOLERANCE, atol=0)
        ):
            raise ValueError(
                f"the trajectory was made with another noise schedule (sigma {ours[0]:.4f} to {ours[-1]:.4f}) "
                f"than the model's ({theirs[0]:.4f} to {theirs[-1]:.4f}); invert the image again with this model."
            )
        for name in ("prediction", "latent_format"):
            mine, other = getattr(self, name), getattr(model, name)
            if mine != other:
                raise ValueError(
                    f"the trajectory's {name} is {mine!r}, but the model's is {other!r}; "
                    "invert the image again with this model."
                )
        if self.weights != model.weights:
            logging.getLogger("retrace").warning(
                "the trajectory was made with other weights than this model's (a LoRA, another checkpoint of the "
                "same kind?); the reconstruction will be less exact."
            )


@dataclass(frozen=True)
class InversionFacts:
    """How the trajectory was made.

    Attributes:
        method: "ddim", or the name of another inversion method.
        steps: N; spacing, terminal: of its schedule.
        cfg: guidance scale used while inverting.
        prompts: digest of the conditioning, see `prompts_digest`.
        fixed_point_iterations: 0 for plain DDIM inversion.
        unet_evaluations: network evaluations for one image of the batch.
        settings: what else the method was run with and has to be continued with ("mixing", "gamma", "order", "eta").
        guidance: the embedded guidance, of models distilled for it; else None.
    """

    method: str
    steps: int
    spacing: Grid
    terminal: Terminal
    cfg: float
    prompts: str
    fixed_point_iterations: int = 0
    unet_evaluations: int = 0
    settings: dict[str, float] = field(default_factory=dict)
    guidance: float | None = None

    def inputs(self, start_step: int | None = None) -> str:
        """The inputs that choose its schedule again, in words, and the step at which it is begun."""
        if self.spacing == "given":
            return "the levels that it was given"
        named = [f"steps {self.steps}"]
        if start_step is not None:
            named.append(f"start_step {start_step}")
        if self.spacing in get_args(Spacing):
            named.append(f"spacing {self.spacing!r}")
        return " and ".join([*([", ".join(named[:-1])] if named[1:] else []), named[-1]])
