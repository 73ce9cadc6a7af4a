"""The pack's own type, and inputs that several nodes share word for word."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from comfy_api.latest import io

from ..inversion.methods import METHODS, Choice, Number, methods_of
from ..samplers.schedule import Spacing, Terminal

RetraceTrajectory = io.Custom("RETRACE_TRAJECTORY")
TO_THE_END = 1000
OTHER_KINDS = "continue it with Edit Sample, or invert with DDIM Invert"
"""What is left to do with a trajectory that is not plain."""


def model_input() -> io.Input:
    return io.Model.Input(
        "model",
        tooltip="An SD1.x, SD2.x or SDXL model or a flow model (Flux, SD3, Qwen-Image, Z-Image, ...), including LoRAs and patches.",
    )


def unet_input() -> io.Input:
    return io.Model.Input("model", tooltip="An SD1.x, SD2.x or SDXL model, including LoRAs and patches.")


def positive_input(tooltip: str) -> io.Input:
    return io.Conditioning.Input("positive", tooltip=tooltip)


def negative_input(tooltip: str) -> io.Input:
    return io.Conditioning.Input("negative", tooltip=tooltip)


def latent_input() -> io.Input:
    return io.Latent.Input("latent", tooltip="The image, encoded with the model's own VAE.")


def cfg_input(default: float, tooltip: str) -> io.Input:
    return io.Float.Input("cfg", default=default, min=0.0, max=30.0, step=0.1, tooltip=tooltip)


def steps_input(default: int = 50) -> io.Input:
    return io.Int.Input(
        "steps",
        default=default,
        min=1,
        max=1000,
        tooltip="Number of steps of the full DDIM schedule. Use the same number for inversion and sampling.",
    )


def seed_input(tooltip: str) -> io.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=io.ControlAfterGenerate.fixed,
        tooltip=tooltip,
    )


def setting_input(name: str, setting: Number | Choice, tooltip: str, **options: Any) -> io.Input:  # noqa: ANN401
    """The input `name` for a setting of an inversion method, with its default and bounds."""
    if isinstance(setting, Choice):
        return io.Combo.Input(name, options=list(setting.options), default=setting.default, tooltip=tooltip, **options)
    number: Any = io.Int if isinstance(setting.default, int) else io.Float
    bounds = {"min": setting.low, "max": setting.high, "step": setting.step}
    return number.Input(name, default=setting.default, **bounds, tooltip=tooltip, **options)


def require_used(given: Mapping[str, Any], method: str, settings: Mapping[str, Number | Choice]) -> None:
    """Raise ValueError for a setting that was changed but that `method` does not have."""
    for name, value in given.items():
        if name not in METHODS[method].settings and value != settings[name].default:
            others = [other for other in methods_of(METHODS[method].family) if name in METHODS[other].settings]
            raise ValueError(
                f"{name} is {value!r}, but method {method!r} does not use it; set it to {settings[name].default!r}, or choose "
                f"method {' or '.join(others)}."
            )


def spacing_input() -> io.Input:
    return io.Combo.Input(
        "spacing",
        options=list(get_args(Spacing)),
        default="leading",
        advanced=True,
        tooltip="How the steps are spread over the model's noise levels. leading is Stable Diffusion's own and, if "
        "steps divides 1000, equals ComfyUI's ddim_uniform. Use trailing for zero-terminal-SNR models. Flow models follow their "
        "own shift: keep leading.",
    )


def terminal_input() -> io.Input:
    return io.Combo.Input(
        "terminal",
        options=list(get_args(Terminal)),
        default="clean",
        advanced=True,
        tooltip="The level of the clean image: clean is sigma 0, as in every stock sampler; first is the model's lowest "
        "level, as in the original null-text code (for comparisons with it). Keep clean for flow models.",
    )


def start_step_input(tooltip: str) -> io.Input:
    return io.Int.Input("start_step", default=0, min=0, max=999, tooltip=tooltip)


def end_step_input() -> io.Input:
    return io.Int.Input(
        "end_step",
        default=TO_THE_END,
        min=1,
        max=TO_THE_END,
        advanced=True,
        tooltip="Stops before this step and leaves the remaining noise; 1000 runs to the last step.",
    )


def last_step(end_step: int, steps: int) -> int:
    """What the end_step input means in a schedule of this many steps."""
    return steps if end_step == TO_THE_END else end_step


def eta_input() -> io.Input:
    return io.Float.Input(
        "eta",
        default=0.0,
        min=0.0,
        max=1.0,
        step=0.01,
        tooltip="0 is deterministic, which reconstruction and editing need; 1 adds fresh noise at every step (DDPM).",
    )
