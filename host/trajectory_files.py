"""Where trajectories lie: inside ComfyUI's own output and input folders, nowhere else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import folder_paths

SUFFIX = ".safetensors"
FOLDER = "trajectories"


def new_trajectory_path(filename_prefix: str) -> tuple[Path, str]:
    """A file not used yet in the output folder, and its subfolder there.

    Raises ValueError when the prefix has no file name or points outside of the output folder.
    """
    output = folder_paths.get_output_directory()
    target = (Path(output) / filename_prefix).resolve()
    if not filename_prefix.strip() or filename_prefix.endswith(("/", "\\")):
        raise ValueError(
            f"Save Trajectory: filename_prefix {filename_prefix!r} has no file name; use a name like {FOLDER}/cat."
        )
    if not target.is_relative_to(Path(output).resolve()):
        raise ValueError(
            f"Save Trajectory: filename_prefix {filename_prefix!r} points outside of ComfyUI's output folder; "
            f"use a name like {FOLDER}/cat."
        )
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, output)
    return Path(folder) / f"{name}_{counter:05}_{SUFFIX}", subfolder


def trajectory_names() -> list[str]:
    """What can be loaded: "name [output]" and "name [input]", newest first."""
    found: list[tuple[float, str]] = []
    for kind, root in _roots().items():
        for path in (root / FOLDER).rglob(f"*{SUFFIX}"):
            # A file may vanish while the list is made, and a link may lead nowhere or outside.
            with contextlib.suppress(OSError):
                if path.resolve(strict=True).is_relative_to(root):
                    found.append((path.stat().st_mtime, f"{path.relative_to(root).as_posix()} [{kind}]"))
    return [name for _, name in sorted(found, reverse=True)]


def trajectory_path(name: str) -> Path:
    """The file that a name of `trajectory_names` stands for.

    Raises ValueError when it lies outside of ComfyUI's folders, is not a safetensors file, or does not exist.
    """
    bare, _, kind = name.removesuffix("]").rpartition(" [")
    root = _roots().get(kind)
    path = (root / bare).resolve() if root else None
    if root is None or path is None or not path.is_relative_to(root) or path.suffix != SUFFIX:
        raise ValueError(
            f"Load Trajectory: {name!r} is not a {SUFFIX} file inside of ComfyUI's folders; "
            f"put it into output/{FOLDER} or input/{FOLDER} and choose it from the list."
        )
    if not path.is_file():
        raise ValueError(f"Load Trajectory: {name!r} does not exist any more; save the trajectory again.")
    return path


def _roots() -> dict[str, Path]:
    return {
        "output": Path(folder_paths.get_output_directory()).resolve(),
        "input": Path(folder_paths.get_input_directory()).resolve(),
    }
