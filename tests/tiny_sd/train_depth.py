"""Train a miniature Depth Anything on the scenes of tiny_sd: what is drawn over the background is near.

.dev/venv/bin/python tests/tiny_sd/train_depth.py FOLDER

writes a folder that Estimate Depth loads, in some five minutes on one core. It is there for the picture in that node's help.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import scenes
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

SIDE, PATCH, WIDTH = 64, 8, 64
STEPS, BATCH, LEARNING_RATE = 500, 16, 1e-3
FAR = 0.2


def network() -> DepthAnythingForDepthEstimation:
    stages = {"out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False}
    size = {"hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": 4}
    backbone = Dinov2Config(**size, image_size=SIDE, patch_size=PATCH, **stages)
    return DepthAnythingForDepthEstimation(
        DepthAnythingConfig(
            backbone_config=backbone,
            patch_size=PATCH,
            reassemble_hidden_size=WIDTH,
            neck_hidden_sizes=[32, 32, 64, 64],
            fusion_hidden_size=32,
            head_hidden_size=16,
        )
    )


def examples(rng: np.random.Generator) -> tuple[list[np.ndarray], torch.Tensor]:
    """Pictures uint8 [128, 128, 3], and their inverse depth [B, SIDE, SIDE]: the object at 1, the background far."""
    drawn = [scenes.random_scene(rng, held_out=False) for _ in range(BATCH)]
    near = np.stack([scenes.object_coverage(scene.objects[0]) for scene in drawn])
    depth = torch.from_numpy(FAR + (1 - FAR) * near)[:, None]
    return [scenes.render(scene) for scene in drawn], torch.nn.functional.avg_pool2d(depth, 128 // SIDE)[:, 0]


def train(folder: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model, processor = network(), DPTImageProcessor(size={"height": SIDE, "width": SIDE})
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for step in range(STEPS):
        pictures, depth = examples(rng)
        predicted = model(**processor(images=pictures, return_tensors="pt")).predicted_depth
        loss = (predicted - depth).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == STEPS - 1:
            print(f"step {step}: mean error {loss.item():.3f}", flush=True)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
