"""A custom node pack for the server tests: a model that blocks inside the network while a file exists.

It makes the middle of a run testable on a machine of any speed.
"""

import time
from pathlib import Path

import comfy.model_management
import comfy.patcher_extension
import folder_paths
from comfy_api.latest import ComfyExtension, io


class HoldModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HoldModel",
            category="testing",
            inputs=[
                io.Model.Input("model"),
                io.Int.Input("call", min=1, tooltip="The evaluation of the network that waits, counted in each run."),
                io.String.Input("file", tooltip="A file in the input folder: the network waits while it exists."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model, call: int, file: str) -> io.NodeOutput:
        held = Path(folder_paths.get_input_directory()) / file

        def outer_sample(executor, *args, **kwargs):
            calls.clear()
            return executor(*args, **kwargs)

        def apply_model(executor, *args, **kwargs):
            calls.append(None)
            while len(calls) == call and held.exists():
                comfy.model_management.throw_exception_if_processing_interrupted()
                time.sleep(0.01)
            return executor(*args, **kwargs)

        calls: list[None] = []
        patched = model.clone()
        wrappers = comfy.patcher_extension.WrappersMP
        patched.add_wrapper_with_key(wrappers.OUTER_SAMPLE, "hold", outer_sample)
        patched.add_wrapper_with_key(wrappers.APPLY_MODEL, "hold", apply_model)
        return io.NodeOutput(patched)


class HoldingExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [HoldModel]


async def comfy_entrypoint() -> ComfyExtension:
    return HoldingExtension()
