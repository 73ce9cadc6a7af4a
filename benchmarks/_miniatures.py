"""The miniatures, loaded as a person loads a checkpoint."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _host import PARTS
from torch import Tensor

CHECKPOINTS = ("tiny_sd15", "tiny_sd2_v")


@dataclass(frozen=True)
class Miniature:
    """`digest` is that of the parts which it is joined from."""

    model: Any
    clip: Any
    vae: Any
    digest: str

    def round_trip(self, image: Tensor) -> Tensor:
        """IMAGE [1, H, W, 3] through the autoencoder."""
        return self.vae.decode(self.vae.encode(image)).float().cpu()


def load(name: str, parts: Path | None = None) -> Miniature:
    """A checkpoint joined from its parts, through the stock loader; call `prepare` first.

    Raises SystemExit if the parts are not there.
    """
    import comfy.sd
    from safetensors.torch import save_file
    from tiny_models import stored
    from tiny_models.loader import layouts

    parts = parts or PARTS
    if name not in stored.complete(parts):
        raise SystemExit(f"{parts} does not have all parts of {name}; train them with tests/tiny_models/train.py.")
    layouts.register()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        save_file(stored.join(parts, name), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        return Miniature(*comfy.sd.load_checkpoint_guess_config(str(path))[:3], digest)
