"""The registry of inversion methods. A method is data: code that runs, offers or reads a method looks it up here and never
branches on its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, get_args

from torch import Tensor

from ..samplers.ddim import sample_ddim
from ..samplers.multistep import sample_multistep
from .bdia import invert_bdia, sample_bdia
from .belm import invert_belm, sample_belm
from .ddim import invert_ddim
from .edict import invert_edict, sample_edict
from .edit_friendly import invert_edit_friendly, sample_edit_friendly
from .fixed_point import Acceleration
from .flow_solvers import invert_dna, invert_midpoint, invert_uni, sample_midpoint
from .multistep import invert_multistep
from .result import Inversion, Kind

Family = Literal["ddim", "exact", "noise maps", "flow"]
"""The methods of a family are alternatives with the same inputs: a user chooses between them by name."""


@dataclass(frozen=True)
class Number:
    """A numeric setting from `low` to `high`, an integer if `default` is one; `step` is the increment in the user interface."""

    default: float
    low: float
    high: float
    step: float | None = None

    def allows(self, value: float) -> bool:
        return self.low <= value <= self.high

    def value_of(self, given: Any) -> Any:  # noqa: ANN401  (a setting's own type)
        return given


@dataclass(frozen=True)
class Choice:
    """A setting chosen by name; `options` maps each name to the value that the method gets."""

    default: str
    options: Mapping[str, Any]

    def allows(self, value: float) -> bool:
        return value in self.options.values()

    def value_of(self, given: str) -> Any:  # noqa: ANN401
        return self.options[given]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How an image is inverted, and how its trajectory is sampled back.

    Attributes:
        family: the methods that it is an alternative to.
        stores: what a trajectory stores for the way back.
        invert: (denoise, x, ascending sigmas, *, path, callback, **settings) -> Inversion; if `draws_noise`, also with
            `noise`, a NoiseSource.
        sample: the way back down the descending sigmas. Its arguments depend on `stores`; each form also takes `callback` and
            the settings in `kept`:
            plain: (denoise, x, sigmas, *, after_step, ...); pair: (denoise, pair, sigmas, *, path, ...);
            noise maps: (denoise, x, sigmas, *, path, noise_maps, previous, states, ...), see `sample_edit_friendly`.
        sample_aligned: the aligned way back of a plain method (`inversion.aligned`), if it is not `sample`.
        settings: the settings of `invert`, by name.
        kept: the names of the settings that `sample` also needs; a trajectory stores their values.
        draws_noise: whether `invert` adds random noise, and therefore needs a seed.
        ascends: whether `invert` evaluates the network at rising levels.
    """

    family: Family
    stores: Kind
    invert: Callable[..., Inversion]
    sample: Callable[..., Tensor]
    sample_aligned: Callable[..., Tensor] | None = None
    settings: Mapping[str, Number | Choice] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    draws_noise: bool = False
    ascends: bool = True

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of `invert`, from settings in user form; settings of other methods are ignored."""
        return {name: setting.value_of(given[name]) for name, setting in self.settings.items()}


ITERATIONS: Mapping[str, Number | Choice] = {
    "fixed_point_iterations": Number(default=0, low=0, high=50),
    "acceleration": Choice(default="none", options={name: name for name in get_args(Acceleration)}),
}

METHODS: Mapping[str, Method] = {
    "ddim": Method(family="ddim", stores="plain", invert=invert_ddim, sample=sample_ddim, settings=ITERATIONS),
    "dpm++ 2m": Method(
        family="ddim",
        stores="plain",
        invert=partial(invert_multistep, rule="dpm++ 2m"),
        sample=partial(sample_multistep, rule="dpm++ 2m"),
    ),
    "res 2m": Method(
        family="ddim",
        stores="plain",
        invert=partial(invert_multistep, rule="res 2m"),
        sample=partial(sample_multistep, rule="res 2m"),
    ),
    "o-belm": Method(family="exact", stores="pair", invert=invert_belm, sample=sample_belm),
    "bdia": Method(
        family="exact",
        stores="pair",
        invert=invert_bdia,
        sample=sample_bdia,
        settings={"gamma": Number(default=1.0, low=0.05, high=1.0, step=0.01)},
        kept=("gamma",),
    ),
    "edict": Method(
        family="exact",
        stores="pair",
        invert=invert_edict,
        sample=sample_edict,
        settings={"mixing": Number(default=0.93, low=0.51, high=0.999, step=0.001)},
        kept=("mixing",),
    ),
    "edit-friendly": Method(
        family="noise maps",
        stores="noise maps",
        invert=invert_edit_friendly,
        sample=sample_edit_friendly,
        settings={
            "order": Choice(default="ddpm", options={"ddpm": 1, "dpm++ 2m": 2}),
            "eta": Number(default=1.0, low=0.01, high=1.0, step=0.01),
        },
        kept=("order", "eta"),
        draws_noise=True,
        ascends=False,
    ),
    "euler": Method(family="flow", stores="plain", invert=invert_ddim, sample=sample_ddim, settings=ITERATIONS),
    "uni": Method(family="flow", stores="plain", invert=invert_uni, sample=sample_ddim),
    "midpoint": Method(
        family="flow", stores="plain", invert=invert_midpoint, sample=sample_midpoint, sample_aligned=sample_ddim
    ),
    "fireflow": Method(
        family="flow",
        stores="plain",
        invert=partial(invert_midpoint, reuse=True),
        sample=partial(sample_midpoint, reuse=True),
        sample_aligned=sample_ddim,
    ),
    "dna": Method(family="flow", stores="plain", invert=invert_dna, sample=sample_ddim, draws_noise=True),
}


def methods_of(family: Family) -> dict[str, Method]:
    """The methods of a family, in the order in which they are offered."""
    return {name: method for name, method in METHODS.items() if method.family == family}


def settings_of(family: Family) -> dict[str, Number | Choice]:
    """The settings of all methods of a family; settings of the same name are the same."""
    return {name: setting for method in methods_of(family).values() for name, setting in method.settings.items()}
