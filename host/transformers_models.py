"""Depth, person and pose networks of transformers, from the user's folders, under ComfyUI's memory management.

Nothing here accesses the network: a folder is read as it is, safetensors only, or refused with a message.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import comfy.model_management
import folder_paths
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from numpy.typing import NDArray

from ..preprocessors.depth import nearness, stretch_depths
from ..preprocessors.pixels import as_rgb8
from ..preprocessors.pose_keypoints import Person, PoseFrame, person_from_coco

FOLDER = "transformers"
# Activations of a vision transformer for one number of its input, generously.
ACTIVATIONS_PER_INPUT = 256


@dataclass(frozen=True)
class ModelKind:
    """A task: the `model_type`s in config.json that can do it, the class that loads them, and a model known to work."""

    task: str
    model_types: tuple[str, ...]
    auto_class: str
    example: str


DEPTH = ModelKind(
    "depth", ("depth_anything", "dpt"), "AutoModelForDepthEstimation", "depth-anything/Depth-Anything-V2-Small-hf"
)
DETECTION = ModelKind(
    "person detection", ("rt_detr", "rt_detr_v2"), "AutoModelForObjectDetection", "PekingU/rtdetr_r50vd"
)
POSE = ModelKind("pose", ("vitpose",), "VitPoseForPoseEstimation", "usyd-community/vitpose-base-simple")


class Held(torch.nn.Module):
    """Wraps a network for ModelPatcher, which sets `device` on what it patches: transformers' models do not allow that."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network


@dataclass(frozen=True)
class Network:
    """A network under ComfyUI's memory management, with its image processor."""

    patcher: ModelPatcher
    processor: Any
    dtype: torch.dtype

    @property
    def config(self) -> Any:  # noqa: ANN401
        """The network's transformers configuration."""
        return self.patcher.model.network.config

    def evaluate(self, pixels: torch.Tensor, **inputs: torch.Tensor) -> Any:  # noqa: ANN401
        """The network's output for [B, 3, H, W], on the load device; loads the network first if necessary."""
        memory = pixels.numel() * self.dtype.itemsize * ACTIVATIONS_PER_INPUT
        # Only a module of ComfyUI's own can run with part of its weights elsewhere.
        comfy.model_management.load_models_gpu([self.patcher], memory_required=memory, force_full_load=True)
        device = self.patcher.load_device
        with torch.inference_mode():
            output = self.patcher.model.network(
                pixels.to(device, self.dtype), **{name: value.to(device) for name, value in inputs.items()}
            )
        for name, value in output.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                output[name] = value.float()
        return output


def model_names(kind: ModelKind) -> list[str]:
    """Names of the folders with a model of this kind, sorted."""
    return sorted({name for name, path in _folders() if _model_type(path) in kind.model_types})


def check_folder(kind: ModelKind, name: str) -> tuple[str, list[str]]:
    """The path of the folder `name` and the files of its model; loads nothing.

    Raises:
        ValueError: if there is no such folder, files are missing, or the model is of another kind.
    """
    path = dict(_folders()).get(name)
    if path is None:
        raise ValueError(f"there is no {kind.task} model named {name!r:.60}. {_advice(kind)}")
    model_type = _model_type(path)
    if model_type not in kind.model_types:
        raise ValueError(
            f"the folder {path} holds a model of type {model_type!r:.60}, not a {kind.task} model "
            f"({', '.join(kind.model_types)}). {_advice(kind)}"
        )
    weights = sorted(file for file in os.listdir(path) if file.endswith(".safetensors"))
    missing = [] if weights else ["model.safetensors"]
    missing += [file for file in ("preprocessor_config.json",) if not os.path.isfile(os.path.join(path, file))]
    if missing:
        raise ValueError(f"the folder {path} lacks {' and '.join(missing)}. {_advice(kind)}")
    return path, ["config.json", "preprocessor_config.json", *weights]


def load_network(kind: ModelKind, name: str) -> Network:
    """The network in the folder `name`, cached until its files change.

    Raises:
        ValueError: see `check_folder`; also if files cannot be read or weights are missing.
    """
    path, files = check_folder(kind, name)
    return _read(kind, path, tuple(os.stat(os.path.join(path, file)).st_mtime_ns for file in files))


def estimate_depths(
    network: Network, images: NDArray[Any], together: bool, on_frame: Callable[[], object]
) -> NDArray[np.float32]:
    """Depth maps, near is white.

    Args:
        network: of kind `DEPTH`.
        images: [B, H, W, C], see `as_rgb8`.
        together: use one range for the whole batch, see `stretch_depths`.
        on_frame: called after each image; an exception from it stops the batch.

    Returns:
        [B, H, W, 3] float32 in 0..1.

    Raises:
        ValueError: if `as_rgb8` refuses an image, or the network's output is not finite.
    """
    count, height, width = images.shape[:3]
    metric = getattr(network.config, "depth_estimation_type", "relative") == "metric"
    depths = np.empty((count, height, width, 3), np.float32)
    for index in range(count):
        pixels = _processed(network, as_rgb8(images[index]))
        output = network.evaluate(pixels).predicted_depth
        output = torch.nn.functional.interpolate(output[:, None], (height, width), mode="bicubic", align_corners=False)
        depths[index, :, :, 0] = nearness(output[0, 0].cpu().numpy(), metric)
        on_frame()
    stretch_depths(depths, together)
    return depths


def estimate_poses(
    detector: Network | None,
    network: Network,
    images: NDArray[Any],
    min_score: float,
    max_people: int,
    on_frame: Callable[[], object],
) -> list[PoseFrame]:
    """The people in each image and their keypoints.

    Args:
        detector: of kind `DETECTION`; None treats each whole image as one person.
        network: of kind `POSE`.
        images: [B, H, W, C], see `as_rgb8`.
        min_score: detections below it are dropped.
        max_people: maximum number of people per image, most certain first.
        on_frame: called after each image; an exception from it stops the batch.

    Raises:
        ValueError: if `as_rgb8` refuses an image, or the pose model's skeleton is not COCO's.
    """
    frames = []
    for image in images:
        rgb = as_rgb8(image)
        height, width = rgb.shape[:2]
        boxes = [[0.0, 0.0, float(width), float(height)]]
        if detector is not None:
            boxes = _person_boxes(detector, rgb, min_score)[:max_people]
        # One person at a time: a crowd must not need more memory than one.
        frames.append(PoseFrame(tuple(_person(network, rgb, box) for box in boxes), width, height))
        on_frame()
    return frames


def _person_boxes(detector: Network, rgb: NDArray[np.uint8], min_score: float) -> list[list[float]]:
    """[x, y, width, height] of each person in pixels, most certain first."""
    labels: dict[int, str] = detector.config.id2label
    person = next((int(index) for index, label in labels.items() if label.lower() == "person"), 0)
    output = detector.evaluate(_processed(detector, rgb))
    found = detector.processor.post_process_object_detection(output, threshold=min_score, target_sizes=[rgb.shape[:2]])[
        0
    ]
    chosen = found["labels"] == person
    order = torch.argsort(found["scores"][chosen], descending=True)
    corners = found["boxes"][chosen][order].cpu()
    limit = torch.tensor([rgb.shape[1], rgb.shape[0]] * 2)
    corners = torch.minimum(corners.clamp_min(0.0), limit)
    sides = corners[:, 2:] - corners[:, :2]
    return torch.cat([corners[:, :2], sides], dim=1)[(sides >= 1.0).all(dim=1)].tolist()


def _person(network: Network, rgb: NDArray[np.uint8], box: list[float]) -> Person:
    pixels = _processed(network, rgb, boxes=[[box]])
    experts = getattr(network.config.backbone_config, "num_experts", 1)
    # ViTPose+ has an expert for each data set it was trained on; the first is COCO.
    inputs = {"dataset_index": torch.zeros(len(pixels), dtype=torch.long)} if experts > 1 else {}
    output = network.evaluate(pixels, **inputs)
    pose = network.processor.post_process_pose_estimation(output, boxes=[[box]])[0][0]
    return person_from_coco(pose["keypoints"].cpu().numpy(), pose["scores"].cpu().numpy().clip(0.0, 1.0))


def _processed(network: Network, rgb: NDArray[np.uint8], **more: object) -> torch.Tensor:
    inputs = network.processor(images=rgb, return_tensors="pt", input_data_format="channels_last", **more)
    return inputs["pixel_values"]


def _folders() -> Iterator[tuple[str, str]]:
    """Name and path of each model folder. Of two with the same name, the first comes last, so that a dict keeps it."""
    roots = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))[0]
    default = os.path.join(folder_paths.models_dir, FOLDER)
    for root in reversed([*roots, default] if default not in roots else roots):
        try:
            names = os.listdir(root)
        except OSError:  # missing, or not to be read
            continue
        for name in names:
            path = os.path.join(root, name)
            # Unlike a DirEntry, this answers for a link to itself too.
            if os.path.isdir(path):
                yield name, path


def _model_type(path: str) -> str | None:
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None


def _advice(kind: ModelKind) -> str:
    target = os.path.join(folder_paths.models_dir, FOLDER, kind.example.rsplit("/", 1)[1])
    return (
        f"Nothing is downloaded for you: make a folder such as {target} and put config.json, preprocessor_config.json "
        f"and model.safetensors of a transformers model into it, for example those of {kind.example}; then press R."
    )


# The one thing the pack keeps between runs: ComfyUI caches what nodes return, and these nodes return pictures. Weights
# stay in main memory, where ComfyUI's memory management puts them when it needs the GPU for something else.
@lru_cache(maxsize=3)
def _read(kind: ModelKind, path: str, stamps: tuple[int, ...]) -> Network:
    import transformers
    from safetensors import SafetensorError

    device = comfy.model_management.get_torch_device()
    dtype = torch.float16 if comfy.model_management.should_use_fp16(device) else torch.float32
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(path, local_files_only=True)
        network, report = getattr(transformers, kind.auto_class).from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ValueError(f"the folder {path} cannot be read: {error}. {_advice(kind)}") from error
    if report["missing_keys"]:
        raise ValueError(
            f"the weights in {path} lack {len(report['missing_keys'])} of the model's tensors "
            f"({min(report['missing_keys'])}, ...). {_advice(kind)}"
        )
    held = Held(network.to(dtype).eval().requires_grad_(False))
    patcher = ModelPatcher(held, load_device=device, offload_device=comfy.model_management.unet_offload_device())
    return Network(patcher, processor, dtype)
