"""Check inputs against their declaration. ComfyUI checks only the values of widgets, and passes linked values on unchecked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..host.naming import named
from ..samplers.blend_mask import checked_mask

WAY_OUT = "correct the value, or the node that is linked to this input"


def check_inputs(inputs: Sequence[io.Input], values: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the input, for the first value that its declaration does not allow.

    Not allowed are None for a required input, numbers out of range, unknown choices, text that is not a string, empty CONDITIONING,
    and NaN or infinity in an IMAGE, MASK or LATENT. An input that is not among `values` keeps its default.
    """
    for each in inputs:
        if each.id not in values or (each.optional and values[each.id] is None):
            continue
        value = values[each.id]
        if value is None:
            raise ValueError(f"{each.id} is None, but the node needs it; {_way_out_of_none(each)}.")
        _check(each, value)


def _check(declared: io.Input, value: Any) -> None:  # noqa: ANN401  (whatever a link carries)
    if isinstance(declared, io.DynamicCombo.Input):
        options = {option.key: option.inputs for option in declared.options}
        key: Any = value.get(declared.id) if isinstance(value, Mapping) else value
        _check_choice(declared.id, list(options), key)
        with named(declared.id):
            check_inputs(options[key], value)
    elif isinstance(declared, io.Combo.Input):
        _check_choice(declared.id, declared.options or [], value)
    elif isinstance(declared, (io.Int.Input, io.Float.Input)):
        _check_number(declared, value)
    elif isinstance(declared, io.String.Input):
        if not isinstance(value, str):
            raise ValueError(f"{declared.id} is {value!r:.60}, but it must be text; {WAY_OUT}.")
    elif isinstance(declared, io.Conditioning.Input):
        if len(value) == 0:
            raise ValueError(f"{declared.id} is an empty list, but the node needs a prompt; connect CLIP Text Encode.")
    elif isinstance(declared, io.Image.Input):
        _check_image(declared.id, value)
    elif isinstance(declared, io.Mask.Input):
        with named(declared.id):
            checked_mask(value)
    elif isinstance(declared, io.Latent.Input):
        _check_latent(declared.id, value)


def _check_choice(name: str, options: Sequence[Any], value: Any) -> None:  # noqa: ANN401
    if value not in options:
        choices = ", ".join(map(str, options))
        raise ValueError(f"{name} is {value!r:.60}, but it must be one of {choices}; {WAY_OUT}.")


def _check_number(declared: io.Int.Input | io.Float.Input, value: Any) -> None:  # noqa: ANN401
    kind, words = (Integral, "a whole number") if isinstance(declared, io.Int.Input) else (Real, "a number")
    # Written so that NaN is refused as well.
    if not (isinstance(value, kind) and declared.min <= value <= declared.max):  # pyright: ignore[reportOperatorIssue]
        raise ValueError(
            f"{declared.id} is {value!r:.60}, but it must be {words} from {declared.min} to {declared.max}; {WAY_OUT}."
        )


def _check_image(name: str, image: Tensor) -> None:
    if image.numel() == 0:
        raise ValueError(f"{name} is an empty batch {tuple(image.shape)}; connect at least one image.")
    if not _is_finite(image):
        raise ValueError(
            f"{name} holds NaN or infinite values; look at the node that made it (a VAE in half precision? Start ComfyUI with "
            "--fp32-vae)."
        )


def _check_latent(name: str, latent: Mapping[str, Any]) -> None:
    samples, mask = latent["samples"], latent.get("noise_mask")
    if not samples.is_nested and not _is_finite(samples):
        raise ValueError(
            f"{name} holds NaN or infinite values; look at the image, or run the VAE in float32 (--fp32-vae)."
        )
    if mask is not None and not _is_finite(mask):
        raise ValueError(
            f"{name} has a noise_mask that holds NaN or infinite values; look at the mask that Set Latent Noise Mask was given."
        )


def _is_finite(tensor: Tensor) -> bool:
    """Whether all elements are finite, computed without a temporary of the tensor's size (videos are large)."""
    if tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _way_out_of_none(declared: io.Input) -> str:
    if isinstance(declared, (io.Clip.Input, io.Vae.Input)):
        return f"the checkpoint contains no {declared.get_io_type()}: load one by itself (Load CLIP, Load VAE)"
    return "look at the node that is linked to this input"
