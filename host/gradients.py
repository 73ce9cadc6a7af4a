"""Gradients through a model that ComfyUI holds.

The executor runs every prompt under `torch.inference_mode()`, so everything loaded there is an inference tensor, which autograd
refuses to save. Weights are not copied if that can be avoided: a normal tensor over the same storage is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import comfy.model_management
import torch
from comfy.ldm.flux.layers import DoubleStreamBlock, SingleStreamBlock
from comfy.ldm.lumina.model import JointTransformerBlock
from comfy.ldm.modules.attention import attention_pytorch
from comfy.ldm.modules.diffusionmodules.mmdit import JointBlock
from comfy.ldm.qwen_image.model import QwenImageTransformerBlock
from comfy.ldm.wan.model import WanAttentionBlock
from comfy.model_patcher import ModelPatcher, ModelPatcherDynamic
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from .unet import CHECKPOINTED

ADDS_IN_PLACE = (DoubleStreamBlock, SingleStreamBlock)
"""Blocks of Flux and its kin: they write `x += y` where autograd has kept x."""
DIT_BLOCKS = (*ADDS_IN_PLACE, JointBlock, QwenImageTransformerBlock, JointTransformerBlock, WanAttentionBlock)


@contextmanager
def differentiable(networks: Sequence[nn.Module], device: torch.device, checkpointed: bool = False) -> Iterator[None]:
    """A context in which autograd runs through the networks, with respect to their inputs; their weights stay frozen.

    Every parameter and buffer is replaced by a normal tensor over the same storage. A weight that is kept off the `device` and
    streamed in passes through a buffer that the next layer overwrites, so its layer makes a copy. With `checkpointed`, only the
    inputs of the residual and transformer blocks are saved for the backward pass; the rest is recomputed. Everything is restored
    on exit, even after an exception or an interrupt.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(_in_training())
        if any(isinstance(module, ADDS_IN_PLACE) for network in networks for module in network.modules()):
            stack.enter_context(_OutOfPlace())
        for network in networks:
            for module in network.modules():
                stack.enter_context(_normal_tensors(module))
                if _is_streamed(module, device):
                    stack.enter_context(_copied_weights(module))
                if checkpointed and isinstance(module, (*CHECKPOINTED, *DIT_BLOCKS)):
                    stack.enter_context(_recomputed(module))
        yield


def require_gradients(model: ModelPatcher) -> None:
    """Raise ValueError for a model made of other blocks than those that gradients were compared with finite differences for.

    Some of the others compute with fused functions that have no gradient, and some change the prompt before the network sees it.
    """
    network = model.get_model_object("diffusion_model")
    if not any(isinstance(module, (*CHECKPOINTED, *DIT_BLOCKS)) for module in network.modules()):
        raise ValueError(
            f"the model ({type(model.model).__name__}) is of a kind that null embeddings cannot be optimized for (they can "
            "for SD1.x, SD2.x, SDXL, Flux, SD3, Qwen-Image, Lumina 2, Z-Image, Chroma and Wan); use Edit Friendly Invert, or Edit "
            "Sample with align."
        )


def resident(model: ModelPatcher) -> ModelPatcher:
    """The model, marked to keep its weights loaded for the whole run: dynamic VRAM might evict them while autograd needs them."""
    return model.get_non_dynamic_delegate() if isinstance(model, ModelPatcherDynamic) else model


def with_differentiable_attention(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of the options that uses PyTorch's attention: flash and sage attention have no backward pass here."""

    def attention(_chosen: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401  (ComfyUI's own arguments)
        return attention_pytorch(*args, **kwargs)

    transformer_options = {**model_options.get("transformer_options", {}), "optimized_attention_override": attention}
    return {**model_options, "transformer_options": transformer_options}


def with_separate_skips(model_options: dict[str, Any]) -> dict[str, Any]:
    """A copy of the options in which a UNet's skip connections do not share memory with the next block's input.

    ComfyUI adds a ControlNet's output to a skip connection in place, when autograd or a checkpoint has already saved it as that
    block's input.
    """
    transformer_options = model_options.get("transformer_options", {})
    patches = transformer_options.get("patches", {})
    after_skip = [*patches.get("input_block_patch_after_skip", []), lambda h, _options: h.clone()]
    patches = {**patches, "input_block_patch_after_skip": after_skip}
    return {**model_options, "transformer_options": {**transformer_options, "patches": patches}}


def normal_tensors(value: Any) -> Any:  # noqa: ANN401  (ComfyUI's conditioning: dictionaries and lists of anything)
    """A copy of ComfyUI's processed conditioning whose tensors can all be saved by autograd."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if isinstance(value, dict):
        return {key: normal_tensors(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normal_tensors(item) for item in value]
    if isinstance(getattr(value, "cond", None), Tensor):
        return value._copy_with(normal_tensors(value.cond))
    return value


@contextmanager
def _normal_tensors(module: nn.Module) -> Iterator[None]:
    parameters, buffers = dict(module._parameters), dict(module._buffers)
    try:
        for name, parameter in parameters.items():
            if parameter is not None and _can_be_aliased(parameter):
                module._parameters[name] = nn.Parameter(_alias(parameter), requires_grad=False)
        for name, buffer in buffers.items():
            if buffer is not None and _can_be_aliased(buffer):
                module._buffers[name] = _alias(buffer)
        yield
    finally:
        module._parameters.update(parameters)
        module._buffers.update(buffers)


def _can_be_aliased(tensor: Tensor) -> bool:
    # A quantized weight is a class of its own, and gives a normal tensor when its layer dequantizes it.
    return tensor.is_inference() and type(tensor) in (Tensor, nn.Parameter)


def _alias(tensor: Tensor) -> Tensor:
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


def _is_streamed(module: nn.Module, device: torch.device) -> bool:
    weight = module._parameters.get("weight")
    return weight is not None and weight.device != device and hasattr(module, "weight_function")


@contextmanager
def _copied_weights(module: nn.Module) -> Iterator[None]:
    before = {name: module.__dict__.get(name) for name in ("weight_function", "bias_function")}
    try:
        for name in before:
            setattr(module, name, [*getattr(module, name), torch.clone])
        yield
    finally:
        for name, functions in before.items():
            if functions is None:
                delattr(module, name)
            else:
                setattr(module, name, functions)


class _OutOfPlace(TorchFunctionMode):
    """Makes x = x + y of `x += y`, which nobody who holds the old x notices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401  (torch's)
        return (torch.Tensor.add if func is torch.Tensor.add_ else func)(*args, **(kwargs or {}))


@contextmanager
def _in_training() -> Iterator[None]:
    """ComfyUI's own switch to functions that autograd can follow: its fused ones cannot."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        yield
    finally:
        comfy.model_management.in_training = before


@contextmanager
def _recomputed(module: nn.Module) -> Iterator[None]:
    # Another pack may have put a forward of its own on the module.
    before, forward = module.__dict__.get("forward"), module.forward

    def run(*args: Any, **named: Any) -> Any:  # noqa: ANN401  (a block's own arguments)
        # A backward pass may run in a thread of its own, where the mode around it does not hold.
        with _OutOfPlace() if isinstance(module, DIT_BLOCKS) else nullcontext():
            return forward(*args, **named)

    def recomputed(*args: Any, **named: Any) -> Any:  # noqa: ANN401
        # The blocks share one dictionary of options and write their place into it as the pass goes on.
        kept = [dict(argument) if isinstance(argument, dict) else argument for argument in args]
        named = {name: dict(argument) if isinstance(argument, dict) else argument for name, argument in named.items()}
        return checkpoint(run, *kept, use_reentrant=False, **named)

    module.forward = recomputed
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
