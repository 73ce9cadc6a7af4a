"""Where trajectories are stored: in ComfyUI's own output and input folders, nowhere else."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

import comfy.latent_formats
import folder_paths

from ..inversion.trajectory import Trajectory
from ..inversion.trajectory_file import load_trajectory, save_trajectory

SUFFIX = ".safetensors"
FOLDER = "trajectories"
# As much of a given name as a message repeats.
ECHOED = 100


def save_numbered(trajectory: Trajectory, filename_prefix: str) -> str:
    """Save to a new file in the output folder; returns its name there, such as "trajectories/cat_00001_.safetensors".

    A number is never used twice, even if several processes save to the same folder.

    Raises:
        ValueError: if the prefix does not name a file inside the output folder, or the file cannot be written.
    """
    output = folder_paths.get_output_directory()
    named = bool(filename_prefix.strip()) and not filename_prefix.endswith(("/", "\\"))
    if not named or not _is_inside(Path(output, os.path.normpath(filename_prefix)), Path(output)):
        raise ValueError(
            f"filename_prefix {filename_prefix[:ECHOED]!r} does not name a file inside ComfyUI's output folder; "
            f"use a name like {FOLDER}/cat."
        )
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, output)
        names = (f"{name}_{number:05}_{SUFFIX}" for number in itertools.count(counter))
        path = save_trajectory(trajectory, Path(folder), names)
    except OSError as error:
        raise ValueError(
            f"the trajectory cannot be saved as {filename_prefix[:ECHOED]!r} in the output folder ({error.strerror}); "
            "make room on the disk, allow ComfyUI to write there, or choose another filename_prefix."
        ) from error
    return Path(subfolder, path.name).as_posix()


def trajectory_names() -> list[str]:
    """The files that can be loaded, as "name [output]" and "name [input]", newest first."""
    found: list[tuple[float, str]] = []
    for kind, root in _roots().items():
        # Unlike rglob, os.walk passes over a folder that cannot be read.
        for folder, _, files in os.walk(root / FOLDER):
            for path in (Path(folder, file) for file in files if file.endswith(SUFFIX)):
                # A file may vanish while the list is made, and a link may lead nowhere, outside or to itself.
                with contextlib.suppress(OSError):
                    if _is_inside(path, root):
                        found.append((path.stat().st_mtime, f"{path.relative_to(root).as_posix()} [{kind}]"))
    return [name for _, name in sorted(found, reverse=True)]


def trajectory_path(name: str) -> Path:
    """The path of a file listed by `trajectory_names`.

    Raises:
        ValueError: if it is outside ComfyUI's folders, is not a safetensors file, or does not exist.
    """
    bare, _, kind = name.removesuffix("]").rpartition(" [")
    root = _roots().get(kind)
    if root is None or not bare.endswith(SUFFIX) or not _is_inside(root / bare, root):
        raise ValueError(
            f"{name[:ECHOED]!r} is not a {SUFFIX} file inside ComfyUI's folders; "
            f"save one with Save Trajectory, or put a file into output/{FOLDER} or input/{FOLDER}; "
            "then press R and choose it from the list."
        )
    if not os.path.isfile(root / bare):
        raise ValueError(f"{name[:ECHOED]!r} does not exist; save the trajectory again, or choose one from the list.")
    return root / bare


def read_trajectory(name: str) -> Trajectory:
    """The trajectory in a file listed by `trajectory_names`.

    Raises:
        ValueError: see `trajectory_path` and `load_trajectory`; also if its latents do not have the channels of its latent
            format.
    """
    trajectory = load_trajectory(trajectory_path(name))
    latent_format = getattr(comfy.latent_formats, trajectory.model.latent_format, None)
    channels = getattr(latent_format, "latent_channels", trajectory.latents.shape[2])
    if trajectory.latents.shape[2] != channels:
        raise ValueError(
            f"{name[:ECHOED]!r} is not a usable trajectory: its latents have {trajectory.latents.shape[2]} channels, but "
            f"those of {trajectory.model.latent_format} have {channels}; invert the image again."
        )
    return trajectory


def _roots() -> dict[str, Path]:
    return {
        "output": Path(folder_paths.get_output_directory()).resolve(),
        "input": Path(folder_paths.get_input_directory()).resolve(),
    }


def _is_inside(path: Path, root: Path) -> bool:
    """Whether the path, with links resolved, is inside the folder; False for impossible paths (with a NUL)."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    except (OSError, ValueError):
        return False
