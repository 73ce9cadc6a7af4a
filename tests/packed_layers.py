"""A stand-in for ComfyUI-GGUF: linear layers whose weights are packed bytes, unpacked in every forward pass.

As there, a packed weight has the shape of its values but other bytes, and the layers are `custom_operations` of the loader.
"""

from __future__ import annotations

from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn

MIDDLE = 8


class PackedWeight(torch.Tensor):
    """Two 4-bit values in each byte, uint8 [rows, columns / 2], with a scale for each row, float32 [rows, 1]."""

    scale: Tensor

    @property
    def shape(self) -> torch.Size:
        rows, half = self.size()
        return torch.Size((rows, 2 * half))

    def to(self, *args: Any, **settings: Any) -> Any:
        """Bytes have no other dtype."""
        return self

    clone = detach = to


def packed(weight: Tensor) -> PackedWeight:
    scale = weight.float().abs().amax(1, keepdim=True) / (MIDDLE - 1)
    values = (weight.float() / scale).round().add(MIDDLE).to(torch.uint8)
    result = (values[:, ::2] + 16 * values[:, 1::2]).as_subclass(PackedWeight)
    result.scale = scale
    return result


def unpacked(weight: PackedWeight) -> Tensor:
    data = weight.as_subclass(torch.Tensor)
    values = torch.stack([data % 16, data // 16], -1).flatten(1)
    return (values.float() - MIDDLE) * weight.scale


class PackedOperations(comfy.ops.manual_cast):
    class Linear(comfy.ops.manual_cast.Linear):
        def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
            self.weight = nn.Parameter(state_dict[f"{prefix}weight"], requires_grad=False)
            bias = state_dict.get(f"{prefix}bias")
            self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

        def forward_comfy_cast_weights(self, x: Tensor, *args: Any, **settings: Any) -> Tensor:
            weight = unpacked(self.weight).to(x) if isinstance(self.weight, PackedWeight) else self.weight.to(x)
            return nn.functional.linear(x, weight, None if self.bias is None else self.bias.to(x))


def with_packed_layers(checkpoint: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The checkpoint with every matrix below `prefix` packed."""
    return {
        key: packed(value) if key.startswith(prefix) and value.ndim == 2 else value for key, value in checkpoint.items()
    }
