"""Tiny models in this process, for tests of host/ and nodes/."""

import pytest
import torch
from comfy.cli_args import args

# Before any module of ComfyUI asks for the device: parity is measured on the CPU in float32, also where there is a GPU.
args.cpu = True


@pytest.fixture(autouse=True)
def inference_mode():
    """Whatever ComfyUI executes runs under inference mode; so do these tests."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models():
    """Layout -> (MODEL, CONDITIONING) with random weights, made once."""
    from random_models import random_conditioning, random_model

    made = {}

    def get(layout: str):
        if layout not in made:
            model = random_model(layout)
            made[layout] = (model, random_conditioning(model))
        return made[layout]

    return get


@pytest.fixture
def latent():
    """A LATENT of two images, 16 x 16."""
    return {"samples": torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))}
