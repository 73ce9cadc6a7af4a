"""ComfyUI's IMAGE and MASK tensors as arrays, and arrays as the IMAGE that a node returns."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import numpy as np
import torch
from numpy.typing import NDArray

DIRECT_DTYPES = (torch.uint8, torch.float16, torch.float32, torch.float64)


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """The tensor's values in main memory, without a copy if they are already there in a dtype that NumPy has."""
    return (tensor if tensor.dtype in DIRECT_DTYPES else tensor.float()).cpu().numpy()


def as_image(hints: NDArray[np.float32]) -> torch.Tensor:
    """An IMAGE, on the device where ComfyUI keeps images."""
    return torch.from_numpy(hints).to(comfy.model_management.intermediate_device())


def decoded(vae: Any, samples: torch.Tensor) -> torch.Tensor:  # noqa: ANN401  (ComfyUI's VAE)
    """The pictures of samples [B, C, (T,) H, W] as an IMAGE [B T, H, W, 3]: a VAE of videos gives frames a dimension."""
    images = vae.decode(samples)
    return images.flatten(0, -4)
