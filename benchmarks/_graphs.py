"""Run graphs in API format in this process with ComfyUI's own executor, and compute digests of the nodes' outputs."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open

Prompt = dict[str, dict[str, Any]]
Digests = dict[str, str]


class Graphs:
    """ComfyUI's nodes and this pack's, with separate folders that contain the given model files."""

    def __init__(self, pack: ModuleType, folder: Path, models: Mapping[str, Path]) -> None:
        import folder_paths
        import server
        from tiny_models.loader import layouts

        import nodes

        for name in ("input", "output", "temp", "models"):
            (folder / name).mkdir(parents=True)
        folder_paths.set_input_directory(str(folder / "input"))
        folder_paths.set_output_directory(str(folder / "output"))
        folder_paths.set_temp_directory(str(folder / "temp"))
        for name, path in models.items():
            link = folder / "models" / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
            folder_paths.add_model_folder_path(name.split("/")[0], str(link.parent))
        self.pack = pack
        self.input = folder / "input"
        # The part of the server that nodes use at run time: where to send progress.
        self.server = SimpleNamespace(
            client_id=None, last_node_id=None, last_prompt_id="", send_sync=lambda *message: None,
            send_progress_text=lambda *message: None, prompt_queue=None, node_replace_manager=None,
        )  # fmt: skip
        server.PromptServer.instance = self.server  # pyright: ignore
        layouts.register()
        asyncio.run(nodes.init_builtin_extra_nodes())
        extension = asyncio.run(pack.comfy_entrypoint())
        for node in asyncio.run(extension.get_node_list()):
            node.RELATIVE_PYTHON_MODULE = "custom_nodes.retrace"
            nodes.NODE_CLASS_MAPPINGS[node.define_schema().node_id] = node
        self.classes = nodes.NODE_CLASS_MAPPINGS
        self.executor = self._executor()

    def _executor(self) -> Any:  # noqa: ANN401  (ComfyUI's)
        import execution

        # Annotated as bool, but expects one of these.
        kind: Any = execution.CacheType.CLASSIC
        return execution.PromptExecutor(self.server, kind, {"lru": 0, "ram": 16.0, "ram_inactive": 16.0})

    def stored(self, path: Path) -> Prompt:
        """What the frontend would queue for a stored workflow."""
        graph = json.loads(path.read_text(encoding="utf-8"))
        classes = {node["type"] for node in graph["nodes"]} & set(self.classes)
        api_prompt = importlib.import_module(f"{self.pack.__name__}.batch.stored_graph").api_prompt
        return api_prompt(graph, {name: {"input": self.classes[name].INPUT_TYPES()} for name in classes})

    def run(self, prompt: Prompt) -> Digests:
        """ "node.output" -> digest, for every output that carries data.

        Raises RuntimeError if a node fails.
        """
        self.executor.execute(prompt, "same-bytes", {}, list(prompt))
        if not self.executor.success:
            raise RuntimeError(f"{self.executor.status_messages[-1][1].get('exception_message')}")
        digests: Digests = {}
        for node_id, node in prompt.items():
            entry = asyncio.run(self.executor.caches.outputs.get(node_id))
            title = node.get("_meta", {}).get("title", node_id)
            for at, values in enumerate(entry.outputs):
                if digest := digest_of(values, self.pack):
                    digests[f"{title} ({node['class_type']}).{at}"] = digest
        return digests


def digest_of(value: object, pack: ModuleType) -> str:
    """A digest of the tensors, numbers and strings in a value; empty if there are none (a MODEL, a CLIP)."""
    parts = list(_parts(value, pack))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:24] if parts else ""


def _parts(value: object, pack: ModuleType) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype} {list(value.shape)}".encode()
        yield value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(value, str | int | float | bool):
        yield repr(value).encode()
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            # A uuid differs in every process.
            if key != "uuid" and (inner := list(_parts(value[key], pack))):
                yield from (str(key).encode(), *inner)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _parts(each, pack)
    elif type(value).__name__ == "Trajectory":
        yield from _stored(value, pack)


def _stored(trajectory: object, pack: ModuleType) -> Iterator[bytes]:
    """The trajectory as stored in its file, whatever its fields are called in memory."""
    files = importlib.import_module(f"{pack.__name__}.inversion.trajectory_file")
    with tempfile.TemporaryDirectory() as folder:
        path = files.save_trajectory(trajectory, Path(folder), ["it"])
        with safe_open(path, "pt") as file:
            yield file.metadata()["inversion"].encode()
            for name in sorted(file.keys()):
                yield from (name.encode(), *_parts(file.get_tensor(name), pack))
