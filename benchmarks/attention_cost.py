"""The cost of prompt-to-prompt: time and memory of a patched step versus a plain one, both with two rows and cfg.

    python dev.py bench attention_cost [--size 512] [--rounds 3]

Random weights in SD1.5's full-size layout. Everything is on: cross- and self-attention replaced, and a local blend that
collects maps. CPU time on a CPU, so that other processes do not matter; wall time on a GPU.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from typing import Any

import torch
from _host import environment, prepare

TOKENS = 77


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    prepare()
    from overhead import full_size_model

    print(f"{environment()}; SD1.5's layout, {options.size} x {options.size}, {options.rounds} rounds\n", flush=True)
    with torch.inference_mode():
        model = full_size_model()
        patched = with_prompt_to_prompt(model)
        step(model, 64)  # loads the model, and warms up
        step(model, options.size)
        plain_memory = peak_memory()
        step(patched, options.size)
        more_memory = peak_memory() - plain_memory
        plain, edited = [], []
        for _ in range(options.rounds):
            plain.append(step(model, options.size))
            edited.append(step(patched, options.size))
    ratios = [after / before for before, after in zip(plain, edited, strict=True)]
    print(f"plain step {statistics.median(plain):.2f} s, patched {statistics.median(edited):.2f} s")
    print(f"ratio: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"more memory at the peak: {more_memory / 2**20:.0f} MB")


def with_prompt_to_prompt(model: Any) -> Any:  # noqa: ANN401
    from retrace_pack.attention.alignment import Alignment  # pyright: ignore[reportMissingImports]
    from retrace_pack.attention.controllers import CrossEdit  # pyright: ignore[reportMissingImports]
    from retrace_pack.attention.local_blend import LocalBlend  # pyright: ignore[reportMissingImports]
    from retrace_pack.attention.prompt_edit import PromptEdit  # pyright: ignore[reportMissingImports]
    from retrace_pack.host.prompt_to_prompt import patch_prompt_to_prompt  # pyright: ignore[reportMissingImports]

    ones = torch.ones(TOKENS)
    target = CrossEdit(Alignment(torch.eye(TOKENS), ones), ones, ones.double())
    blend = LocalBlend(words=((2,), (2,)), subtracted=((), ()), start=0.0)
    return patch_prompt_to_prompt(
        model,
        PromptEdit((TOKENS, TOKENS), (target,), 1.0, blend),
        self_resolution=1,
        blend_resolution=2,
        node="benchmark",
    )


def step(model: Any, size: int) -> float:  # noqa: ANN401
    """Seconds of one euler step with two rows, positive and negative together."""
    import comfy.sample
    import comfy.samplers

    generator = torch.Generator().manual_seed(0)
    positive = [[torch.randn(2, TOKENS, 768, generator=generator), {}]]
    negative = [[torch.randn(1, TOKENS, 768, generator=generator), {}]]
    noise = torch.randn(2, 4, size // 8, size // 8, generator=generator)
    started = now()
    comfy.sample.sample_custom(
        model, noise, 7.5, comfy.samplers.sampler_object("euler"), torch.tensor([5.0, 4.0]), positive, negative,
        torch.zeros_like(noise), disable_pbar=True,
    )  # fmt: skip
    return now() - started


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def peak_memory() -> int:
    """Peak memory so far, in bytes."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
