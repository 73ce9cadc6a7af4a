"""The table: which method and which settings suit each kind of edit, for each family of models. Here and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .kinds import Kind

Family = Literal[
    "sd1", "sd2", "sdxl", "flux", "flux_cfg", "flux2", "flux2_cfg", "sd3", "qwen_image", "z_image", "lumina2", "chroma", "anima"
]  # fmt: skip
Row = Kind | Literal["color", "unsure"]
"""What is known of an edit: `color` where only names of colors differ."""
Return = Literal["difference", "edit", "whole"]
"""How an edit gets back into the photo: only what changed, as a difference or as the edit itself; or the whole picture."""


@dataclass(frozen=True)
class MutualAttention:
    """MasaCtrl: from this step and this fraction of the layers on, the edit looks up its content in the source."""

    start_step: int = 4
    start_layer: float = 0.625


@dataclass(frozen=True)
class FeatureInjection:
    """Plug-and-play: the fractions of the steps with the source's self-attention and features."""

    attention: float = 0.5
    features: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A row of the table.

    Attributes:
        method: in words, for messages and pages.
        inversion: a name in `inversion.methods`; `inversion_cfg` and `fixed_point_iterations` are its settings.
        cfg: the guidance scale of the edit; `embedded`: of a model distilled for it, which takes it with the prompt.
        attention: whether source and edit share attention, and so one conditioning; if not, each prompt is sampled by itself.
        cross_replace, self_replace: the fractions of the steps with the source's attention (prompt-to-prompt).
        blend: the share of their strongest attention above which a place belongs to the words that differ; nothing else changes
            while the edit is sampled (local blend). 0: no local blend.
        control: what is done to attention besides prompt-to-prompt.
        start: the fraction of the steps, from the noise end, that is skipped at full strength.
        returns: how the edit gets back into the photo.
        grow: the margin around what changed, as a fraction of the working side.
    """

    method: str
    inversion: str = "ddim"
    inversion_cfg: float = 1.0
    fixed_point_iterations: int = 2
    cfg: float
    embedded: bool = False
    attention: bool = True
    cross_replace: float = 0.0
    self_replace: float = 0.0
    blend: float = 0.0
    control: MutualAttention | FeatureInjection | None = None
    start: float = 0.0
    returns: Return = "edit"
    grow: float = 1 / 48

    def start_step(self, steps: int, strength: float) -> int:
        """The step at which the edit begins, so that a strength of 1 is the full edit and 0 skips every step."""
        return round(steps * (1 - strength * (1 - self.start)))


_WORDS = Recipe(method="prompt-to-prompt", cfg=5.0)

STABLE_DIFFUSION: dict[Row, Recipe] = {
    "color": replace(_WORDS, cross_replace=0.8, self_replace=0.8, blend=0.5, returns="difference"),
    "color or material": replace(_WORDS, cross_replace=0.8, self_replace=0.8, blend=0.5),
    "object or shape": replace(_WORDS, cross_replace=0.6, self_replace=0.4, blend=0.5),
    "pose": Recipe(method="MasaCtrl", cfg=7.5, control=MutualAttention(), grow=1 / 24),
    "background": replace(_WORDS, cross_replace=0.8, self_replace=0.4),
    "add something": replace(_WORDS, cross_replace=0.3, self_replace=0.2),
    "remove something": replace(_WORDS, cross_replace=0.4, self_replace=0.3, blend=0.5),
    "style": Recipe(method="plug-and-play", cfg=7.5, control=FeatureInjection(), returns="whole"),
    "everything": Recipe(
        method="edit-friendly inversion",
        inversion="edit-friendly",
        inversion_cfg=3.5,
        cfg=7.5,
        start=0.3,
        returns="whole",
    ),
    "unsure": replace(_WORDS, cross_replace=0.8, self_replace=0.4),
}
"""Shared by SD1.x, SD2.x and SDXL. "unsure" is the row that did least harm over all kinds."""

_DEEP_POSE = replace(STABLE_DIFFUSION["pose"], control=MutualAttention(start_layer=0.9))
"""MasaCtrl counts attention layers, most of which SDXL has at its smallest maps."""

_ALIGNED = Recipe(
    method="aligned inversion", inversion="euler", fixed_point_iterations=0, attention=False, cfg=5.0, start=0.14
)
"""DNAEdit skips 4 of 28 steps (Xie et al. 2025); DirectEdit's cfg is 3.5 to 7.5, and 2 to 3.5 where guidance is embedded."""

TRUE_CFG_FLOW: dict[Row, Recipe] = {
    "color": replace(_ALIGNED, returns="difference"),
    "color or material": _ALIGNED,
    "object or shape": _ALIGNED,
    "pose": replace(_ALIGNED, grow=1 / 24),
    "background": _ALIGNED,
    "add something": _ALIGNED,
    "remove something": _ALIGNED,
    "style": replace(_ALIGNED, returns="whole"),
    "everything": replace(_ALIGNED, start=0.0, returns="whole"),
    "unsure": _ALIGNED,
}
"""Flows with a negative prompt. Published settings: not measured here yet."""

GUIDED_FLOW: dict[Row, Recipe] = {row: replace(recipe, cfg=3.5, embedded=True) for row, recipe in TRUE_CFG_FLOW.items()}
"""Flows with embedded guidance. Published settings: not measured here yet."""

RECIPES: Mapping[Family, Mapping[Row, Recipe]] = {
    "sd1": STABLE_DIFFUSION,
    "sd2": STABLE_DIFFUSION,
    "sdxl": {**STABLE_DIFFUSION, "pose": _DEEP_POSE},
    "flux": GUIDED_FLOW,
    "flux_cfg": TRUE_CFG_FLOW,
    "flux2": GUIDED_FLOW,
    "flux2_cfg": TRUE_CFG_FLOW,
    "sd3": TRUE_CFG_FLOW,
    "qwen_image": TRUE_CFG_FLOW,
    "z_image": TRUE_CFG_FLOW,
    "lumina2": TRUE_CFG_FLOW,
    "chroma": TRUE_CFG_FLOW,
    "anima": TRUE_CFG_FLOW,
}

NATIVE_SIDE: Mapping[Family, int] = {
    "sd1": 512, "sd2": 768, "sdxl": 1024, "flux": 1024, "flux_cfg": 1024, "flux2": 1024,
    "flux2_cfg": 1024, "sd3": 1024, "qwen_image": 1328, "z_image": 1024, "lumina2": 1024, "chroma": 1024, "anima": 1024,
}  # fmt: skip
"""The side of the squares that the models of a family were trained on."""

FEW_STEPS = re.compile(
    r"turbo|lightning|schnell|hyper[-_ ]?sd|klein(?![-_ ]?base)|(?<![a-z])(lcm|tcd|dmd2?|pcm)(?![a-z])"
    r"|(?<![\d.v])[1-8][-_ ]?steps?(?![a-z]|[-_=]?\d)"
)
"""Files of distilled models. "v2_step1000" and "3-step-4000" count the steps of a training."""


def few_step_name(names: Iterable[str]) -> str | None:
    """The first of the files' names that says that a model needs a few steps only (distilled: Lightning, LCM, Turbo, ...)."""
    return next((name for name in names if FEW_STEPS.search(name.lower())), None)
