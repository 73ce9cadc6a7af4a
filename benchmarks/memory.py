"""What autograd saves in one pass through a full-size UNet: the memory that null-text optimization needs, without a GPU.

    python dev.py bench memory

The layouts of SD1.5 (512 x 512) and SDXL (1024 x 1024) in bfloat16 on the meta device, which computes nothing: shapes alone
determine the bytes. Attention is fused. "whole" saves every activation; "checkpointed" saves the inputs of the residual and
transformer blocks, plus what one block at a time needs while it is recomputed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from _host import prepare
from torch import Tensor, nn

GIB = 2**30


@dataclass
class Kept:
    """The distinct storages that a pass saves, by module."""

    weights: set[int]
    all: dict[int, int] = field(default_factory=dict)
    block_inputs: dict[int, int] = field(default_factory=dict)
    in_blocks: dict[int, int] = field(default_factory=dict)
    current: dict[int, int] | None = None
    largest_block: int = 0

    def pack(self, tensor: Tensor) -> Tensor:
        key, size = _storage(tensor)
        if key not in self.weights:
            self.all[key] = size
            if self.current is not None:
                self.current[key] = size
        return tensor

    def enter(self, module: nn.Module, arguments: tuple[Any, ...]) -> None:
        self.current = {}
        for tensor in arguments:
            if isinstance(tensor, Tensor):
                key, size = _storage(tensor)
                self.block_inputs[key] = size

    def leave(self, module: nn.Module, arguments: tuple[Any, ...], result: Tensor) -> None:
        assert self.current is not None
        self.largest_block = max(self.largest_block, sum(self.current.values()))
        self.in_blocks |= self.current
        self.current = None

    @property
    def whole(self) -> int:
        return sum(self.all.values())

    @property
    def checkpointed(self) -> int:
        outside = {key: size for key, size in self.all.items() if key not in self.in_blocks} | self.block_inputs
        return sum(outside.values()) + self.largest_block


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    prepare()
    import comfy.supported_models as layouts

    print("| layout | latent | weights GiB | whole GiB | checkpointed GiB | ComfyUI's estimate for sampling GiB |")
    print("|---|---|---|---|---|---|")
    for name, layout, side in (("SD1.5", layouts.SD15, 64), ("SDXL", layouts.SDXL, 128)):
        model = meta_model(layout)
        kept = one_pass(model, side)
        weights = sum(parameter.nbytes for parameter in model.diffusion_model.parameters())
        estimate = model.memory_required([1, 4, side, side])
        cells = [f"{size / GIB:.2f}" for size in (weights, kept.whole, kept.checkpointed, estimate)]
        print(f"| {name} | {side} x {side} | {' | '.join(cells)} |", flush=True)


def meta_model(layout: Any) -> Any:  # noqa: ANN401  (ComfyUI's model classes)
    config = layout({**layout.unet_config, "image_size": 32, "in_channels": 4, "out_channels": 4, **details(layout)})
    config.set_inference_dtype(torch.bfloat16, None)
    return config.get_model({}, "", device="meta")


def details(layout: Any) -> dict[str, Any]:  # noqa: ANN401
    """What ComfyUI derives from a checkpoint's keys, for the two layouts."""
    shared = {
        "use_spatial_transformer": True, "legacy": False, "dtype": torch.bfloat16, "num_res_blocks": [2, 2, 2, 2],
        "num_head_channels": 64, "num_heads": -1,
    }  # fmt: skip
    if "SDXL" in layout.__name__:
        return shared | {
            "num_classes": "sequential", "channel_mult": [1, 2, 4], "num_res_blocks": [2, 2, 2],
            "transformer_depth_middle": 10, "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10],
        }  # fmt: skip
    return shared | {
        "channel_mult": [1, 2, 4, 4], "num_heads": 8, "num_head_channels": -1, "transformer_depth_middle": 1,
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0], "transformer_depth_output": [1] * 9 + [0] * 3,
    }  # fmt: skip


def one_pass(model: Any, side: int) -> Kept:  # noqa: ANN401
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, SpatialTransformer

    network = model.diffusion_model
    kept = Kept({_storage(parameter)[0] for parameter in network.parameters()})
    for module in network.modules():
        if isinstance(module, (ResBlock, SpatialTransformer)):
            module.register_forward_pre_hook(kept.enter)
            module.register_forward_hook(kept.leave)
    meta: dict[str, Any] = {"device": "meta", "dtype": torch.bfloat16}
    context = torch.empty(1, 77, 2048 if model.adm_channels else 768, **meta).requires_grad_(True)
    extra = {"y": torch.empty(1, model.adm_channels, **meta)} if model.adm_channels else {}
    options = {"optimized_attention_override": fused_attention}
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        network(
            torch.empty(1, 4, side, side, **meta), torch.empty(1, device="meta"), context=context,
            transformer_options=options, **extra,
        )  # fmt: skip
    return kept


def fused_attention(
    chosen: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, *_: object, **__: object
) -> Tensor:
    """PyTorch's default kernel; the meta device would choose the one that saves the whole attention matrix."""
    batch, tokens, width = q.shape
    split = [tensor.view(batch, -1, heads, width // heads).transpose(1, 2) for tensor in (q, k, v)]
    out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*split)[0]
    return out.transpose(1, 2).reshape(batch, tokens, width)


def _storage(tensor: Tensor) -> tuple[int, int]:
    storage = tensor.untyped_storage()
    return storage._cdata, storage.nbytes()


if __name__ == "__main__":
    main()
