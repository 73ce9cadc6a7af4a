"""The trained miniatures: their checkpoints, which dev.py joins from the stored parts, and the same weights outside ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
import torch
from tiny_models import checkpoint, stored
from tiny_models.diffusion import TextToLatent
from tiny_models.loader import layouts
from tiny_models.vocabulary import Vocabulary, vocabulary

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = ROOT / ".dev" / "miniatures"
PARTS = ROOT / "tests" / "tiny_models" / "weights"


def load(name: str = "tiny_sd15") -> tuple[Any, Any, Any]:
    """(MODEL, CLIP, VAE) from the stock loader."""
    layouts.register()
    with torch.inference_mode():
        return comfy.sd.load_checkpoint_guess_config(str(CHECKPOINTS / f"{name}.safetensors"))[:3]


def reference(name: str = "tiny_sd15") -> tuple[TextToLatent, Vocabulary]:
    """The UNet and the text encoder as diffusers and transformers know them, in float32, with the words that they know."""
    words = vocabulary()
    model = TextToLatent(name, len(words.token_ids))
    unet, text = (stored.read_part(PARTS, part) for part in (name, stored.TEXT_PART))
    model.load_state_dict(checkpoint.text_to_latent_weights(unet, text))
    return model.eval().requires_grad_(False), words
