"""The Trajectory: every state of an inversion, with the facts that decide how it may be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .facts import InversionFacts, ModelFacts
from .result import Asks, Kind


@dataclass(frozen=True)
class NullEmbeddings:
    """What null-text optimization adds to a trajectory, see `inversion.null_text`.

    Attributes:
        embeddings: float32 [N, T, D]; entry i is for the step that ends at level i, counted from the image.
        pooled: float32 [1, P], the fixed pooled embedding of models that have one (SDXL), or None.
        residuals: float32 [N, 1, C, H, W], by how much each step missed the trajectory, in its latents' scale, or None.
        cfg: the guidance scale they were made for.
        settings: the names of the negative's other settings (a ControlNet, SDXL's sizes), which are not stored.
    """

    embeddings: Tensor
    pooled: Tensor | None
    residuals: Tensor | None
    cfg: float
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """The path of one image (or a batch) from latent to noise.

    Attributes:
        latents: float32 [N+1, B, C, (T,) H, W] on the CPU; latents[0] is the image's own latent (at terminal "first" its state
            at that level), latents[N] the noise end. They are states of the model's path in the latent format's outer scale.
        sigmas: float32 [N+1], ascending, the level of each.
        residuals: float32 [N], see `inversion.ddim.Inversion`.
        model: the model's facts. inversion: the method's.
        pairs: float64 [N+1, 2, B, C, H, W], both states of an exact method at every level (latents are the first of them).
        noise_maps: float32 [N, B, C, H, W], what an edit-friendly inversion adds at the step that ends at level i.
        null_text: optimized null embeddings of a plain trajectory.
        asks: where a plain inversion evaluated the network, float32 in the scale of the latents; None in files before format 4.
    """

    latents: Tensor
    sigmas: Tensor
    residuals: Tensor
    model: ModelFacts
    inversion: InversionFacts
    pairs: Tensor | None = None
    noise_maps: Tensor | None = None
    null_text: NullEmbeddings | None = None
    asks: Asks | None = None

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def kind(self) -> Kind:
        """What the way back starts from: a state alone ("plain"), a state pair, or a state and its noise maps."""
        if self.pairs is not None:
            return "pair"
        return "plain" if self.noise_maps is None else "noise maps"

    def latent_at(self, start_step: int) -> Tensor:
        """The state to sample from after skipping the `start_step` noisiest steps, [B, C, H, W]."""
        return self.latents[self.steps - self._checked(start_step)]

    def remaining_sigmas(self, start_step: int) -> Tensor:
        """The descending levels that remain from `start_step`, [N - start_step + 1]."""
        return self.sigmas[: self.steps - self._checked(start_step) + 1].flip(0)

    def image(self) -> Tensor:
        """The image that was inverted, [B, C, (T,) H, W]: its latent, which at terminal "first" stands at that level."""
        return self.model.path.to_unit(self.latents[0], self.sigmas[0])

    def predicted_clean(self) -> Tensor:
        """The image that each step was heading from, [N, B, C, H, W]: x0 on the straight line through two successive states.

        If a step reached its fixed point, this is exactly what the network predicted at the noisier state.
        """
        beside_states = (-1, *(1,) * (self.latents.ndim - 1))
        rise = (self.sigmas[1:] - self.sigmas[:-1]).view(beside_states)
        # Two levels can be equal (terminal "first" with a grid that begins at that level); their slope counts as 0.
        eps = (self.latents[1:] - self.latents[:-1]) / torch.where(rise > 0, rise, torch.inf)
        return self.latents[1:] - self.sigmas[1:].view(beside_states) * eps

    def largest_offset(self) -> float:
        """How far from a state the inversion evaluated the network, at most: a root mean square relative to the state's.

        0 where it is not known. A way back that is not aligned misses by about as much, and with few steps it is large.
        """
        if self.asks is None:
            return 0.0
        within_a_step = tuple(range(1, self.latents.ndim))
        offsets, states = (
            tensor.square().mean(within_a_step).sqrt() for tensor in (self.asks.offsets, self.latents[1:])
        )
        return float((offsets / states).max())

    def evenly_spaced_predictions(self, count: int) -> Tensor:
        """At most `count` of `predicted_clean`, from the image to the noise end, both included."""
        chosen = torch.linspace(0, self.steps - 1, min(count, self.steps)).round().long()
        return self.predicted_clean()[chosen]

    def require_model(self, model: ModelFacts) -> None:
        """Raise ValueError, or log a warning, as `ModelFacts.require_same` does."""
        self.model.require_same(model)

    def require_latent_shape(self, shape: torch.Size) -> None:
        """Raise ValueError unless a latent [B, C, H, W] has this trajectory's shape."""
        if tuple(shape) != tuple(self.latents.shape[1:]):
            raise ValueError(
                f"the latent has the shape {tuple(shape)}, but the trajectory's is "
                f"{tuple(self.latents.shape[1:])}; give the latent that was inverted."
            )

    def require_plain(self, way_out: str) -> None:
        """Raise ValueError unless a single state is enough to continue."""
        if self.kind != "plain":
            raise ValueError(
                f"the trajectory was made by {self.inversion.method} and continues from its {self.kind}, not from a "
                f"latent alone; {way_out}."
            )

    def with_pairs(self, pairs: Tensor) -> Trajectory:
        """A copy with the state pairs of an exact method. Raises ValueError if a state is not finite."""
        _require_finite(pairs, self.inversion.method)
        return replace(self, pairs=pairs.detach().to("cpu", torch.float64).contiguous())

    def with_noise_maps(self, noise_maps: Tensor) -> Trajectory:
        """A copy with the noise maps of an edit-friendly inversion. Raises ValueError if a map is not finite."""
        _require_finite(noise_maps, self.inversion.method)
        return replace(self, noise_maps=_on_cpu(noise_maps))

    def with_asks(self, asks: Asks) -> Trajectory:
        """The same path with where the network was evaluated. Raises ValueError when an offset is not finite."""
        _require_finite(asks.offsets, self.inversion.method)
        corrections = None if asks.corrections is None else _on_cpu(asks.corrections)
        return replace(self, asks=Asks(_on_cpu(asks.offsets), _on_cpu(asks.levels), corrections))

    def with_null_text(self, null_text: NullEmbeddings) -> Trajectory:
        """A copy with other null embeddings."""
        return replace(self, null_text=null_text)

    def _checked(self, start_step: int) -> int:
        if not 0 <= start_step < self.steps:
            raise ValueError(
                f"start_step {start_step} is beyond the trajectory's {self.steps} steps; choose 0 to {self.steps - 1}."
            )
        return start_step


def plain_trajectory(
    latents: Tensor, sigmas: Tensor, residuals: Tensor, model: ModelFacts, inversion: InversionFacts
) -> Trajectory:
    """A Trajectory of detached float32 CPU tensors, whatever the device they were made on.

    Raises ValueError when a state is not finite.
    """
    _require_finite(latents, inversion.method)
    return Trajectory(*(_on_cpu(tensor) for tensor in (latents, sigmas, residuals)), model=model, inversion=inversion)


def prompts_digest(tensors: list[Tensor]) -> str:
    """A short digest of conditioning tensors; equal prompts have equal digests."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _require_finite(states: Tensor, method: str) -> None:
    if not bool(torch.isfinite(states).all()):
        raise ValueError(
            f"a state of the inversion ({method}) is NaN or infinite; the model overflowed. Run it in a wider dtype "
            "(float32 or bfloat16), lower cfg, or (BDIA) set gamma to 1."
        )


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()
