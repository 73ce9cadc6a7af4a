"""How a state is made of an image and noise: the one place that knows which family a model is of.

A state x [B, C, (T,) H, W] at level s is x = a(s) x0 + b(s) noise, with noise of unit variance. The model is
`denoise(x, s) -> x0`. On every path d = (x - x0) / s is the direction dx/ds of the probability flow ODE: eps on the
variance-exploding path, the velocity on the rectified-flow path. So the deterministic DDIM step and the Euler step of a
flow are one formula, x + (s_next - s) d.

Levels are tensors: scalars, or of a shape that broadcasts against the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


def direction(x: Tensor, x0: Tensor, s: Tensor) -> Tensor:
    """d = (x - x0) / s: eps on the variance-exploding path, the velocity of a flow; s must not be 0."""
    return (x - x0) / s


class Path(ABC):
    """The coefficients of a family of models, and what follows from them alone."""

    @abstractmethod
    def a(self, s: Tensor) -> Tensor:
        """The weight of the image."""

    @abstractmethod
    def b(self, s: Tensor) -> Tensor:
        """The weight of the noise."""

    @abstractmethod
    def k(self, s: Tensor) -> Tensor:
        """d x0 / d x for a network whose velocity is held: 1 - s dv/dx is what is left of x in its x0."""

    @abstractmethod
    def variance(self, s: Tensor) -> Tensor:
        """c^2, the variance of a state over that of the network's input, which is about the same at every level."""

    def c(self, s: Tensor) -> Tensor:
        """The scale of a state relative to the network's input."""
        return self.variance(s) ** 0.5

    def to_unit(self, x: Tensor, s: Tensor) -> Tensor:
        """x / c, which has about unit variance at every level: the papers' variance-preserving state."""
        return x / self.c(s)

    def from_unit(self, x_unit: Tensor, s: Tensor) -> Tensor:
        """x = c x_unit, the inverse of `to_unit`."""
        return x_unit * self.c(s)

    def at_level(self, x: Tensor, s: Tensor, s_query: Tensor) -> Tensor:
        """The state of level `s` as an input at another level: its variance is what the network expects there."""
        return x * (self.variance(s_query) / self.variance(s)) ** 0.5

    def add_noise(self, x0: Tensor, noise: Tensor, s: Tensor) -> Tensor:
        """x = a x0 + b noise."""
        return self.a(s) * x0 + self.b(s) * noise

    def noise_of(self, x: Tensor, x0: Tensor, s: Tensor) -> Tensor:
        """The noise = (x - a x0) / b in a state of which the image is known; s must not be 0."""
        return (x - self.a(s) * x0) / self.b(s)

    def log_snr_rise(self, s: Tensor, s_next: Tensor) -> Tensor:
        """The half log signal-to-noise ratio log(a / b) at `s_next` less that at `s`: DPM-Solver's h."""
        return torch.log(self.b(s) * self.a(s_next) / (self.a(s) * self.b(s_next)))

    def stochastic_step(
        self, x0: Tensor, eps: Tensor, s: Tensor, s_next: Tensor, *, eta: float, noise: Tensor
    ) -> Tensor:
        """DDIM's step of variance `eta` (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16) on any path.

        b_up = eta b' sqrt(1 - (a b' / (a' b))^2) and x' = a' x0 + sqrt(b'^2 - b_up^2) eps + b_up noise, where a prime
        stands for `s_next` and eps for the noise in the state, `noise_of(x, x0, s)`. It keeps the marginal for every eta, and
        at eta 1 draws from the posterior q(x' | x, x0) of DDPM. At s = 1 of a flow, where a = 0, it is finite.
        """
        a, b, a_next, b_next = self.a(s), self.b(s), self.a(s_next), self.b(s_next)
        b_up = eta * b_next * (1 - (a * b_next / (a_next * b)) ** 2).clamp(min=0).sqrt()
        b_down = (b_next**2 - b_up**2).clamp(min=0).sqrt()
        return a_next * x0 + b_down * eps + b_up * noise.to(x0)

    def preimage(self, x: Tensor, query: Tensor, x0: Tensor, s: Tensor, s_next: Tensor) -> Tensor:
        """The state at `s_next` whose deterministic step back to `s` gives x, if the network's velocity there were the one
        that it gave for `query` (its image is `x0`).

        The step back is x = r z + g x0(z) with r = b / b' and g = a - r a', and a held velocity means
        x0(z) = x0 + k (z - query). Holding the velocity, not eps, has the same fixed point and contracts at every level,
        also where the signal is nearly gone (zero-terminal SNR).
        """
        ratio = self.b(s) / self.b(s_next)
        gain = self.a(s) - ratio * self.a(s_next)
        slope = self.k(s_next)
        return (x + gain * (slope * query - x0)) / (ratio + slope * gain)


@dataclass(frozen=True)
class VarianceExploding(Path):
    """x = x0 + s noise, the scale of ComfyUI's samplers for epsilon and v-prediction models; abar = 1 / (1 + s^2)."""

    def a(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)

    def b(self, s: Tensor) -> Tensor:
        return s

    def k(self, s: Tensor) -> Tensor:
        return 1 / (1 + s**2)

    def variance(self, s: Tensor) -> Tensor:
        return 1 + s**2


@dataclass(frozen=True)
class RectifiedFlow(Path):
    """x = (1 - s) x0 + s noise_scale noise with s in 0..1 (Liu et al. 2023, arXiv 2209.03003).

    `noise_scale` is the standard deviation of the noise, 1 except for a few models.
    """

    noise_scale: float = 1.0

    def a(self, s: Tensor) -> Tensor:
        return 1 - s

    def b(self, s: Tensor) -> Tensor:
        return s * self.noise_scale

    def k(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)

    def variance(self, s: Tensor) -> Tensor:
        return torch.ones_like(s)
