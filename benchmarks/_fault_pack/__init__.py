"""A custom node pack for `dev.py bench load` alone: the network fails where it is told to, and the server says what it has become.

POST /retrace-load/faults   {prompt id: {"kind": "exception" or "memory", "call": 3, "where": 0.7}, ...}
GET  /retrace-load/state    the calls of the network in each prompt, the models in memory, what has been replaced in ComfyUI
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import psutil
import torch
from aiohttp import web
from comfy.model_base import BaseModel
from comfy_api.latest import ComfyExtension, io
from server import PromptServer
from torch import nn

MESSAGE = "a fault of the load benchmark"
KINDS = {"exception": RuntimeError, "memory": comfy.model_management.OOM_EXCEPTION}


@dataclass
class Network:
    """Counts the calls of the network, and lets the chosen ones fail."""

    faults: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def install(self) -> None:
        """Put this in the place of the network of every model."""
        apply_model = BaseModel._apply_model

        def counted(model: BaseModel, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ANN401
            prompt_id = PromptServer.instance.last_prompt_id  # pyright: ignore[reportAttributeAccessIssue]
            self.calls[prompt_id] += 1
            fault = self.faults.get(prompt_id)
            if fault is None or self.calls[prompt_id] != fault["call"]:
                return apply_model(model, *args, **kwargs)
            with _failing(model.diffusion_model, fault):
                apply_model(model, *args, **kwargs)
            raise KINDS[fault["kind"]](MESSAGE)  # the layer was not called

        BaseModel._apply_model = counted  # pyright: ignore[reportAttributeAccessIssue]


@contextlib.contextmanager
def _failing(network: nn.Module, fault: dict[str, Any]) -> Any:  # noqa: ANN401
    """A layer in the middle of the network fails, as it does without memory."""
    layers = [module for module in network.modules() if not list(module.children())]

    def fail(*_: object) -> None:
        raise KINDS[fault["kind"]](MESSAGE)

    handle = layers[int(fault["where"] * len(layers))].register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


def state_of(network: nn.Module) -> tuple[str, dict[str, int]]:
    """A digest of the weights, and how many modules and weights are not as a loader leaves them."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    modules, weights = list(network.modules()), list(network.parameters())
    return digest.hexdigest()[:16], {
        "hooks": sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in modules),
        "replaced methods": sum(callable(value) for module in modules for value in _own_values(module)),
        "gradients": sum(weight.grad is not None for weight in weights),
        "weights that want gradients": sum(weight.requires_grad for weight in weights),
    }


def _own_values(module: nn.Module) -> list[object]:
    """What an instance has under the names of its class's methods."""
    return [value for name, value in vars(module).items() if callable(getattr(type(module), name, None))]


def functions() -> dict[str, object]:
    """Every function and method of ComfyUI's own modules."""
    found: dict[str, object] = {}
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("comfy", "execution", "nodes", "latent_preview") and module is not None:
            for key, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == name:
                    found |= {f"{name}.{key}.{each}": it for each, it in vars(value).items() if callable(it)}
                elif callable(value):
                    found[f"{name}.{key}"] = value
    return found


def settled_memory() -> int:
    """Bytes in use, once what is free has been given back to the system."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not every system has it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return psutil.Process().memory_info().rss


def serve() -> None:
    """Install the network that fails, and answer the benchmark."""
    network = Network()
    network.install()
    routes, at_start = PromptServer.instance.routes, {}

    @routes.post("/retrace-load/faults")
    async def faults(request: web.Request) -> web.Response:
        network.faults |= await request.json()
        return web.json_response({})

    @routes.get("/retrace-load/state")
    async def state(request: web.Request) -> web.Response:
        now = functions()
        if not at_start:
            at_start.update(now)
        memory, loaded = settled_memory(), comfy.model_management.current_loaded_models
        networks = [each.model.model for each in loaded if each.model is not None]
        replaced = [name for name, it in at_start.items() if now.get(name, it) is not it]
        return web.json_response(
            {"calls": network.calls, "memory": memory, "replaced": replaced, "networks": dict(map(state_of, networks))}
        )


class FaultExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return []


async def comfy_entrypoint() -> ComfyExtension:
    serve()
    return FaultExtension()
