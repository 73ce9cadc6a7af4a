"""A ComfyUI that a batch starts for itself, here or on another machine, with the models and packs that are there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .items import InputError
from .server import ComfyServer


@dataclass(frozen=True)
class Installation:
    """Where a machine has what a worker needs. A path that is given must be the same on every machine with a worker."""

    pack: Path
    """This pack's folder."""
    comfyui: Path | None = None
    """The folder of main.py; None: COMFYUI_PATH of the machine."""
    models: Path | None = None
    """A folder such as ComfyUI/models; None: ComfyUI's own."""
    packs: tuple[Path, ...] = ()
    """Further packs, in addition to those of the ComfyUI."""
    arguments: tuple[str, ...] = ()
    """Further arguments for ComfyUI's main.py."""
    work: Path | None = None
    """Where the server's temporary folder goes; None: the system's."""

    def server(self) -> ComfyServer:
        """A server that has started. Raises InputError where there is no ComfyUI, and StartError or OSError."""
        comfyui = self._comfyui()
        packs = {path.name: path for path in (comfyui / "custom_nodes").glob("*") if path.is_dir()}
        packs = {name: path for name, path in packs.items() if path.resolve() != self.pack and name != "__pycache__"}
        models = {path.name: path for path in self._models().glob("*") if path.is_dir()}
        if self.work is not None:
            self.work.mkdir(parents=True, exist_ok=True)
        server = ComfyServer(
            comfyui,
            {**packs, **{path.name: path for path in self.packs}, "retrace": self.pack},
            models,
            arguments=self.arguments,
            parent=self.work,
            every_pack_loads=False,
            followed=False,
        )
        server.start()
        return server

    def weights(self, names: Iterable[str]) -> dict[str, str]:
        """The SHA-256 of model files by name, of those that are in one of the models' folders."""
        found = {}
        for name in names:
            for folder in sorted(self._models().glob("*")):
                if (folder / name).is_file():
                    found[name] = _sha256(folder / name)
        return found

    def _comfyui(self) -> Path:
        comfyui = self.comfyui or Path(os.environ.get("COMFYUI_PATH", ""))
        if not (comfyui / "main.py").is_file():
            raise InputError(
                [
                    "give the folder of ComfyUI with --comfyui or COMFYUI_PATH, or the address of a running one with --server."
                ]
            )
        return comfyui

    def _models(self) -> Path:
        return self.models or self._comfyui() / "models"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
