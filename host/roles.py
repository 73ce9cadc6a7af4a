"""Two prompts without batching: a guider that evaluates the network once for each role, the source first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """The prompts of row 0, where it is evaluated apart from the other rows: they may differ from theirs in length, guidance and
    cfg, as those of a transformer do."""

    positive: list[Any]
    negative: list[Any]
    cfg: float


class RoleGuider(comfy.samplers.CFGGuider):
    """ComfyUI's guider; with a source it evaluates row 0 under the source's prompts, and then the other rows under its own."""

    source_cfg: float | None = None

    def set_source(self, source: Source) -> None:
        self.inner_set_conds({"source": source.positive, "source_negative": source.negative})
        self.source_cfg = source.cfg

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        options = model_options or {}
        if self.source_cfg is None:
            return super().predict_noise(x, timestep, options, seed)
        roles = (
            (slice(0, 1), "source", "source_negative", self.source_cfg),
            (slice(1, None), "positive", "negative", self.cfg),
        )
        return torch.cat(
            [
                comfy.samplers.sampling_function(
                    self.inner_model,
                    x[rows],
                    timestep[rows],
                    self.conds[negative],
                    self.conds[positive],
                    cfg,
                    options,
                    seed,
                )
                for rows, positive, negative, cfg in roles
            ]
        )
