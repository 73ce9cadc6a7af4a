"""The cost of DDIM inversion beyond its UNet calls.

    python dev.py bench overhead [--size 256] [--steps 4]

Random weights in SD1.5's full-size layout. Both times come from the same run: a wrapper around the UNet sums the time spent
inside it, and the rest (guider, conditioning, step arithmetic, previews, storing the states) is overhead.
ComfyUI's own euler sampler on the same levels is measured as well, because most of the overhead is the host's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _host import environment, prepare

ROUNDS = 5


class Stopwatch:
    """Time spent inside the UNet, as a DIFFUSION_MODEL wrapper."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, executor: Callable[..., Any], *args: object, **kwargs: object) -> object:
        started = now()
        result = executor(*args, **kwargs)
        self.seconds += now() - started
        return result


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; SD1.5's layout, {options.size} x {options.size}, {options.steps} steps, {ROUNDS} rounds\n")
    ours, stock = [], []
    with torch.inference_mode():
        model = full_size_model()
        overhead(model, options, inversion)  # loads the model, and warms up
        for _ in range(ROUNDS):
            ours.append(overhead(model, options, inversion))
            stock.append(overhead(model, options, euler))
    print("| | median | lowest | highest |\n|---|---|---|---|")
    for name, values in (("RetraceDDIMInvert", ours), ("ComfyUI's euler", stock)):
        shown = (statistics.median(values), min(values), max(values))
        print(f"| {name} | " + " | ".join(f"{100 * value:.2f} %" for value in shown) + " |")


def full_size_model() -> Any:  # noqa: ANN401
    """SD1.5's UNet with ComfyUI's own classes and random weights."""
    import comfy.model_base
    import comfy.model_management
    import comfy.model_patcher
    import comfy.supported_models
    from random_models import initialise

    config = comfy.supported_models.SD15(
        {
            **comfy.supported_models.SD15.unet_config,
            "image_size": 32, "in_channels": 4, "out_channels": 4, "num_res_blocks": [2, 2, 2, 2],
            "channel_mult": [1, 2, 4, 4], "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
            "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], "transformer_depth_middle": 1,
            "use_spatial_transformer": True, "legacy": False,
        }
    )  # fmt: skip
    device = comfy.model_management.get_torch_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    config.set_inference_dtype(dtype, None)
    model = comfy.model_base.BaseModel(config, device=device)
    initialise(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


def overhead(model: Any, options: argparse.Namespace, run: Callable[..., None]) -> float:  # noqa: ANN401
    """(total - inside the UNet) / inside the UNet of one run."""
    import comfy.patcher_extension

    watch = Stopwatch()
    watched = model.clone()
    watched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, "stopwatch", watch)
    generator = torch.Generator().manual_seed(0)
    conditioning = [[torch.randn(1, 77, 768, generator=generator), {}]]
    latent = {"samples": torch.randn(1, 4, options.size // 8, options.size // 8, generator=generator)}
    started = now()
    run(watched, conditioning, latent, options.steps)
    return (now() - started - watch.seconds) / watch.seconds


def inversion(model: Any, conditioning: list[Any], latent: dict[str, Any], steps: int) -> None:  # noqa: ANN401
    from node_call import run_node
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    run_node(RetraceDDIMInvert, model=model, positive=conditioning, negative=conditioning, latent=latent, steps=steps)


def euler(model: Any, conditioning: list[Any], latent: dict[str, Any], steps: int) -> None:  # noqa: ANN401
    import nodes

    nodes.KSamplerAdvanced().sample(
        model, "enable", 0, steps, 1.0, "euler", "ddim_uniform", conditioning, conditioning, latent, 0, 10000, "disable"
    )


if __name__ == "__main__":
    main()
