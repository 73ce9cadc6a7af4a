"""What a loaded MODEL is: its noise levels, prediction type and latent space; and which models are refused."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import (
    CONST,
    COSMOS_RFLOW,
    EDM,
    EPS,
    IMG_TO_IMG,
    IMG_TO_IMG_FLOW,
    V_PREDICTION,
    X0,
    ModelSamplingDiscrete,
    ModelSamplingDiscreteEDM,
    StableCascadeSampling,
)
from torch import Tensor

from ..inversion.facts import ModelFacts
from ..samplers.path import Path, RectifiedFlow, VarianceExploding
from ..samplers.prediction import Prediction

OTHER_FLOWS = (COSMOS_RFLOW, IMG_TO_IMG_FLOW)
OTHER_TIMES = (ModelSamplingDiscreteEDM, StableCascadeSampling, EDM, IMG_TO_IMG)


def model_facts(model: ModelPatcher) -> ModelFacts:
    """The facts that a trajectory is checked against. Raises ValueError for a model that cannot be inverted here."""
    sampling: Any = model.get_model_object("model_sampling")
    _require_latents(model)
    prediction = _prediction(model, sampling)
    if prediction != "flow" and len(sampling.sigmas) != sampling.num_timesteps:
        raise ValueError(
            f"the model keeps {len(sampling.sigmas)} of its {sampling.num_timesteps} noise levels, as "
            "ModelSamplingDiscrete's lcm does: a distilled model is not the ODE that inversion walks along; leave out that node."
        )
    return ModelFacts(
        sigma_table=_normal_copy(sampling.sigmas),
        prediction=prediction,
        latent_format=type(model.get_model_object("latent_format")).__name__,
        weights=_weights_digest(model),
        noise_scale=_noise_scale(sampling),
    )


def path_of(model: ModelPatcher) -> Path:
    """The path of the model's states. Raises ValueError for flows whose states are made in another way."""
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, OTHER_FLOWS):
        raise ValueError(
            f"the model ({type(model.model).__name__}) is a flow whose states are not (1 - sigma) image + sigma noise, as those of "
            "Cosmos 1 and of image-to-image flows are; load a model such as Flux, SD3 or Qwen-Image, or a Stable Diffusion "
            "checkpoint."
        )
    return RectifiedFlow(_noise_scale(sampling)) if isinstance(sampling, CONST) else VarianceExploding()


def _noise_scale(sampling: object) -> float:
    return float(getattr(sampling, "noise_scale", 1.0))


def _require_latents(model: ModelPatcher) -> None:
    latent_format: Any = model.get_model_object("latent_format")
    if latent_format.spacial_downscale_ratio == 1:
        raise ValueError(
            f"the model ({type(model.model).__name__}) works on pixels, not on latents, which no node of this pack is made for; "
            "load one with a VAE, such as Flux, SD3 or Stable Diffusion."
        )


def _prediction(model: ModelPatcher, sampling: object) -> Prediction:
    if isinstance(path_of(model), RectifiedFlow):
        return "flow"
    if (
        not isinstance(sampling, ModelSamplingDiscrete)
        or isinstance(sampling, OTHER_TIMES)
        or not isinstance(sampling, EPS)
    ):
        raise ValueError(
            f"the model ({type(model.model).__name__}) has no table of discrete noise levels, which DDIM inversion walks along; "
            "load an SD1.x, SD2.x or SDXL checkpoint, or a flow such as Flux or SD3."
        )
    if isinstance(sampling, V_PREDICTION):
        return "v_prediction"
    return "sample" if isinstance(sampling, X0) else "epsilon"


def _normal_copy(tensor: Tensor) -> Tensor:
    """A float32 CPU tensor that autograd may save, of one that ComfyUI made under inference mode."""
    with torch.inference_mode(False):
        return tensor.clone().float().cpu()


def _weights_digest(model: ModelPatcher) -> str:
    """A short digest of the biases and norms, which hardly any LoRA touches (one that another workflow left loaded would
    show in the other weights), and of the patches that this MODEL adds. Stable across restarts."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.model.diffusion_model.named_parameters(), key=lambda item: item[0]):
        if parameter.ndim == 1:
            digest.update(name.encode() + parameter.detach()[:8].float().cpu().numpy().tobytes())
    for key in sorted(model.patches):
        for strength, patch, strength_model, *_ in model.patches[key]:
            digest.update(f"{key}/{strength}/{strength_model}/{type(patch).__name__}".encode())
            for weight in getattr(patch, "weights", patch):
                if isinstance(weight, Tensor):
                    digest.update(weight.flatten()[:8].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
