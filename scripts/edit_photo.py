r"""Edit a photo through a running ComfyUI's API, without its graph: upload, queue, follow, download.

    python scripts/edit_photo.py photo.png edited.png --checkpoint v1-5-pruned-emaonly-fp16.safetensors \
        --source "a cat on a sofa" --target "a dog on a sofa"

It needs Python, aiohttp (included with ComfyUI) and a ComfyUI with Retrace running at --server. `edit_graph` is the template
"7 Invert, rebuild, edit" as a function: change it as you like. In ComfyUI, Export (API) in the workflow menu gives such a graph
for any workflow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

Graph = dict[str, dict[str, Any]]
Progress = Callable[[str, int, int], None]
"""(node id, steps done, total steps)"""


class EditError(Exception):
    """ComfyUI rejected or could not finish the prompt; contains ComfyUI's own message."""


def node(class_type: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    """A node in ComfyUI's API format."""
    return {"class_type": class_type, "inputs": inputs}


def edit_graph(
    image: str, checkpoint: str, source: str, target: str, size: int, steps: int, start_step: int, cfg: float
) -> Graph:
    """Invert the image under the source prompt and continue from `start_step` under the target prompt."""
    schedule = {"steps": steps, "spacing": "leading", "terminal": "clean"}
    model, clip, vae = (["checkpoint", output] for output in range(3))
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "photo": node("LoadImage", image=image),
        "resize": node(
            "ImageScaleToTotalPixels",
            image=["photo", 0],
            upscale_method="lanczos",
            megapixels=(size / 1024) ** 2,
            resolution_steps=8,
        ),
        "encode": node("VAEEncode", pixels=["resize", 0], vae=vae),
        "source": node("CLIPTextEncode", clip=clip, text=source),
        "target": node("CLIPTextEncode", clip=clip, text=target),
        "empty": node("CLIPTextEncode", clip=clip, text=""),
        "invert": node(
            "RetraceDDIMInvert",
            model=model,
            positive=["source", 0],
            negative=["empty", 0],
            latent=["encode", 0],
            cfg=1.0,
            fixed_point_iterations=2,
            **schedule,
        ),
        "state": node("RetraceTrajectoryLatent", trajectory=["invert", 0], start_step=start_step, model=model),
        "edit": node(
            "RetraceDDIMSample",
            model=model,
            positive=["target", 0],
            negative=["empty", 0],
            latent=["state", 0],
            seed=0,
            cfg=cfg,
            start_step=start_step,
            end_step=1000,
            add_noise=False,
            eta=0.0,
            same_noise=False,
            row_seeds="",
            **schedule,
        ),
        "decode": node("VAEDecode", samples=["edit", 0], vae=vae),
        "result": node("PreviewImage", images=["decode", 0]),
    }


async def upload(session: aiohttp.ClientSession, photo: Path) -> str:
    """Upload the photo to ComfyUI's input folder; returns its name for LoadImage."""
    form = aiohttp.FormData()
    form.add_field("image", photo.read_bytes(), filename=photo.name)
    async with session.post("/upload/image", data=form) as answer:
        answer.raise_for_status()
        stored = await answer.json()
    return f"{stored['subfolder']}/{stored['name']}".lstrip("/")


async def run(session: aiohttp.ClientSession, graph: Graph, progress: Progress) -> dict[str, Any]:
    """Queue the graph and follow it over the websocket until it is done; returns the outputs of each output node."""
    client_id = uuid.uuid4().hex
    async with session.ws_connect("/ws", params={"clientId": client_id}, max_msg_size=0) as socket:
        async with session.post("/prompt", json={"prompt": graph, "client_id": client_id}) as answer:
            queued = await answer.json()
        if "prompt_id" not in queued:
            raise EditError(json.dumps(queued, indent=2))
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:  # a binary preview image
                continue
            event = json.loads(message.data)
            kind, data = event["type"], event.get("data", {})
            if data.get("prompt_id") != queued["prompt_id"]:
                continue
            if kind == "progress":
                progress(data["node"], data["value"], data["max"])
            elif kind == "execution_error":
                raise EditError(f"{data['node_type']}: {data['exception_message'].strip()}")
            elif kind == "execution_interrupted":
                raise EditError("The prompt was interrupted.")
            elif (
                kind == "executing" and data["node"] is None
            ):  # sent when the history holds the outputs, unlike "success"
                break
        else:
            raise EditError("ComfyUI closed the connection before the prompt was done.")
    async with session.get(f"/history/{queued['prompt_id']}") as answer:
        return (await answer.json())[queued["prompt_id"]]["outputs"]


async def edit_photo(server: str, photo: Path, result: Path, progress: Progress, **settings: Any) -> None:  # noqa: ANN401
    """Edit `photo` and write the edit to `result`; `settings` are the arguments of `edit_graph`."""
    async with aiohttp.ClientSession(server) as session:
        graph = edit_graph(await upload(session, photo), **settings)
        outputs = await run(session, graph, progress)
        async with session.get("/view", params=outputs["result"]["images"][0]) as answer:
            answer.raise_for_status()
            result.write_bytes(await answer.read())


def tell(node_id: str, done: int, total: int) -> None:
    print(f"\r{node_id}: {done}/{total}", end="" if done < total else "\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("result", type=Path, help="the PNG to write")
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--checkpoint", required=True, help="a name in ComfyUI's models/checkpoints")
    parser.add_argument("--source", required=True, help="what the photo shows")
    parser.add_argument("--target", required=True, help="what it should show")
    parser.add_argument(
        "--size", type=int, default=512, help="side in pixels of a square of the same area; 1024 for SDXL"
    )
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--start-step", type=int, default=16, help="number of noisiest steps to skip; lower is a stronger edit"
    )
    parser.add_argument("--cfg", type=float, default=3.0)
    settings = vars(parser.parse_args())
    try:
        asyncio.run(edit_photo(progress=tell, **settings))
    except (EditError, aiohttp.ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
