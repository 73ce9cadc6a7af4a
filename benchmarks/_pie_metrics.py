"""PIE-Bench's metrics as its authors compute them, with networks from local folders.

What must be copied for comparable figures: the images outside the mask are set to 0 and averaged over the whole frame;
DINO gets 0 to 255, and a resize without antialiasing; an edit is saved as JPEG of Pillow's default quality.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
DINO, CLIP = "dino-vitb8", "clip-vit-large-patch14"
CLIP_TOKENS = 77
SQUEEZENET, HEADS = "squeezenet1_1-b8a52dc0.pth", "squeeze.pth"


def as_published(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] after JPEG. The authors save a strip of four; its blocks of 16 pixels are those of the edit alone."""
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "JPEG")
    return np.asarray(Image.open(encoded))


def psnr(mse: float) -> float:
    """In dB, of values in 0..1; inf for identical images."""
    return -10 * math.log10(mse) if mse else math.inf


def ssim(first: Tensor, second: Tensor) -> float:
    """Of images [1, 3, H, W] in 0..1: Gaussian window of 11 and 1.5, mean over the windows that fit (torchmetrics of 2023)."""
    at = torch.arange(11, dtype=first.dtype, device=first.device) - 5
    weights = torch.exp(-((at / 1.5) ** 2) / 2)
    window = torch.outer(weights, weights) / weights.sum() ** 2
    blur = lambda images: functional.conv2d(images, window.expand(3, 1, 11, 11), groups=3)  # noqa: E731
    mean_1, mean_2 = blur(first), blur(second)
    variance_1, variance_2 = blur(first**2) - mean_1**2, blur(second**2) - mean_2**2
    covariance = blur(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_1 * mean_2 + c1) * (2 * covariance + c2)
    return float((alike / ((mean_1**2 + mean_2**2 + c1) * (variance_1 + variance_2 + c2))).mean())


class Lpips(nn.Module):
    """LPIPS 0.1 on SqueezeNet 1.1 (Zhang et al. 2018) of images [1, 3, H, W] in -1..1."""

    ENDS = (2, 5, 8, 10, 11, 12, 13)
    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: dict[str, Tensor], heads: dict[str, Tensor]) -> None:
        """The state of torchvision's squeezenet1_1, and the `linN.model.1.weight` of the package lpips."""
        super().__init__()
        from torchvision.models import squeezenet1_1

        network = squeezenet1_1(weights=None)
        network.load_state_dict(backbone)
        self.features = network.features
        self.heads = nn.ParameterList([heads[f"lin{n}.model.1.weight"] for n in range(len(self.ENDS))])
        self.register_buffer("shift", torch.tensor((-0.030, -0.088, -0.188)).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor((0.458, 0.448, 0.450)).view(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        x = (torch.cat([first, second]) - self.shift) / self.scale
        total, start = x.new_zeros(()), 0
        for end, head in zip(self.ENDS, self.heads, strict=True):
            x = self.features[start:end](x)
            one, other = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)).chunk(2)
            total = total + functional.conv2d((one - other) ** 2, head).mean()
            start = end
        return total


class Structure(nn.Module):
    """Distance of DINO's self-similarity (Tumanyan et al. 2022): keys of the last layer, cosines of all pairs of tokens."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import ViTModel

        self.model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self._keys = torch.empty(0)
        last = self.model.config.num_hidden_layers - 1
        self.model.get_submodule(f"layers.{last}.attention.k_proj").register_forward_hook(self._keep)

    def forward(self, first: np.ndarray, second: np.ndarray) -> Tensor:
        one, other = self._similarity(first), self._similarity(second)
        return functional.mse_loss(one, other)

    def _similarity(self, image: np.ndarray) -> Tensor:
        from torchvision.transforms.v2.functional import resize

        pixels = torch.from_numpy(image.copy()).to(self.model.device).float().movedim(-1, 0)
        mean, deviation = (torch.tensor(each, device=pixels.device).view(3, 1, 1) for each in IMAGENET)
        small = resize(pixels, [224], max_size=480, antialias=False)
        self.model(((small - mean) / deviation)[None])
        keys = functional.normalize(self._keys[0], dim=-1)
        return keys @ keys.T

    def _keep(self, module: nn.Module, inputs: object, keys: Tensor) -> None:
        self._keys = keys


class ClipScore(nn.Module):
    """100 times the cosine of image and text, at least 0."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPModel, CLIPProcessor

        self.model = CLIPModel.from_pretrained(folder).eval()
        self._processor = CLIPProcessor.from_pretrained(folder)

    def forward(self, image: np.ndarray, text: str) -> float:
        given = self._processor(
            text=[text], images=[Image.fromarray(image)], return_tensors="pt", truncation=True, max_length=CLIP_TOKENS
        )
        found = self.model(**given.to(self.model.device))
        cosine = functional.cosine_similarity(found.image_embeds, found.text_embeds)
        return max(0.0, 100 * float(cosine))


@dataclass(frozen=True)
class Networks:
    """Structure, LPIPS and CLIP on one device."""

    structure: Structure
    lpips: Lpips
    clip: ClipScore
    device: str

    @staticmethod
    def load(folder: Path, device: str) -> Networks:
        """From `dino-vitb8/`, `clip-vit-large-patch14/`, `squeezenet1_1-b8a52dc0.pth` and `squeeze.pth` in a folder."""
        backbone, heads = (torch.load(folder / name, weights_only=True) for name in (SQUEEZENET, HEADS))
        structure, lpips, clip = Structure(folder / DINO), Lpips(backbone, heads), ClipScore(folder / CLIP)
        return Networks(structure.to(device), lpips.to(device), clip.to(device), device)

    @torch.inference_mode()
    def measure(self, source: np.ndarray, edit: np.ndarray, mask: np.ndarray, after: str) -> dict[str, float]:
        """The seven columns, in their own units. Images are uint8 [H, W, 3], `mask` is float32 [H, W].

        nan stands for what the mask leaves undefined; the authors leave it out of the means.
        """
        found = {"structure": float(self.structure(source, edit))}
        kept = 1 - mask[..., None]
        if kept.any():
            first, second = (
                torch.from_numpy(image.astype(np.float32) / 255 * kept).to(self.device).movedim(-1, 0)[None]
                for image in (source, edit)
            )
            mse = float(functional.mse_loss(first, second))
            lpips = float(self.lpips(first * 2 - 1, second * 2 - 1))
            found |= {"psnr": psnr(mse), "lpips": lpips, "mse": mse, "ssim": ssim(first, second)}
        else:
            found |= dict.fromkeys(("psnr", "lpips", "mse", "ssim"), math.nan)
        cut = np.uint8(edit * mask[..., None])
        edited = self.clip(cut, after) if mask.any() else math.nan
        return found | {"clip_whole": self.clip(edit, after), "clip_edited": edited}
