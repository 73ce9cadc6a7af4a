"""The first inpainting templates in a real ComfyUI, as shipped except for the file names, on the miniature's layouts."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "tests" / "tiny_sd"
ROOM = 20
"""Pixels that are painted over around the object."""
SOURCE, TARGET = "a large white triangle on a purple background", "a large green circle on a purple background"


@pytest.fixture(scope="module")
def inpainting_server(tmp_path_factory):
    """A separate ComfyUI, with checkpoints of every layout and a photo with a painted mask (LoadImage's alpha)."""
    import os

    from retrace_pack.batch.server import ComfyServer

    folder = tmp_path_factory.mktemp("layouts")
    sys.path.insert(0, str(TINY))
    from layout_files import write_all

    write_all(folder)
    models = {f"{path.parent.name}/{path.name}": path for path in folder.glob("*/*.safetensors")}
    models |= {f"checkpoints/{path.name}": path for path in TINY.glob("tiny_sd*.safetensors")}
    models["controlnet/tiny_controlnet.safetensors"] = TINY / "tiny_controlnet.safetensors"
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_sd": TINY},
        models=models,
        arguments=("--use-pytorch-cross-attention",),
    ) as server:
        painted().save(server.base / "input" / "photo.png")
        yield server


def painted() -> Image.Image:
    """The demo's image with its object masked as in the mask editor: transparent where it should change."""
    photo = Image.open(TINY / "demo.png").convert("RGB")
    mask = np.asarray(Image.open(TINY / "demo_mask.png").convert("L")) > 127
    rows, columns = np.nonzero(mask)
    box = np.zeros_like(mask)
    top, left = (max(0, side.min() - ROOM) for side in (rows, columns))
    box[top : rows.max() + ROOM + 1, left : columns.max() + ROOM + 1] = True
    photo.putalpha(Image.fromarray(np.where(box, 0, 255).astype(np.uint8)))
    return photo


SMALL = {"width": 128, "height": 128}
FOR_THE_MINIATURE = {
    "Photo": {"image": "photo.png"},
    "Depth map": {"image": "photo.png"},
    "Resize": SMALL,
    "Resize the mask": SMALL,
    "Resize the depth": SMALL,
    "ControlNet": {"control_net_name": "tiny_controlnet.safetensors"},
    "Four prompts": {
        "source_prompt": "a large red circle on a blue background",
        "target_prompts": "a large green square on a white background\na large black star on a yellow background\n"
        "a large white cross on a red background",
    },
    "Four empty latents": SMALL,
    "Source prompt": {"text": SOURCE},
    "Prompt": {"text": TARGET},
}
FOR_TWO_CORES = {"retrace_upscale_x4": {"Resize": {"width": 32, "height": 32}, "Sample": {"steps": 10}}}
CHECKPOINTS = {
    "retrace_inpaint_legacy": "tiny_sd15",
    "retrace_inpaint_trajectory": "tiny_sd15",
    "retrace_inpaint_checkpoint": "tiny_inpainting",
    "retrace_depth_to_image": "tiny_depth",
    "retrace_upscale_x4": "tiny_x4",
    "retrace_img2img": "tiny_sd15",
    "retrace_controlnet_grid": "tiny_sd15",
}


@pytest.fixture(scope="module")
def run(inpainting_server, template_prompt, saved_pictures):
    """Template -> {title: image} of its SaveImage nodes."""
    object_info = inpainting_server.get("/object_info")
    finished = {}

    def get(template: str):
        if template not in finished:
            checkpoint = {"Checkpoint": {"ckpt_name": f"{CHECKPOINTS[template]}.safetensors"}}
            changes = {**FOR_THE_MINIATURE, **checkpoint, **FOR_TWO_CORES.get(template, {})}
            prompt = template_prompt(template, object_info)
            for content in prompt.values():
                content["inputs"] |= changes.get(content["_meta"]["title"], {})
            finished[template] = saved_pictures(inpainting_server, prompt)
        return finished[template]

    return get


@pytest.mark.parametrize(
    "template", ["retrace_inpaint_legacy", "retrace_inpaint_trajectory", "retrace_inpaint_checkpoint"]
)
def test_outside_of_the_mask_every_pixel_is_the_photos(run, template):
    pictures = run(template)
    source, result = pictures["Source"], pictures["Inpainted"]
    box = np.asarray(painted())[..., 3] == 0
    # The template grows the mask by four pixels.
    rows, columns = np.nonzero(box)
    allowed = np.zeros_like(box)
    allowed[max(0, rows.min() - 5) : rows.max() + 6, max(0, columns.min() - 5) : columns.max() + 6] = True
    assert np.array_equal(result[~allowed], source[~allowed])
    assert np.abs(result[box].astype(int) - source[box]).mean() > 5


def test_the_trajectory_template_paints_what_the_prompt_says(run):
    from judge import judge

    verdict = judge(run("retrace_inpaint_trajectory")["Inpainted"])
    assert (verdict.color, verdict.background) == ("green", "purple")


def test_depth_to_image_samples_a_depth_checkpoint(run):
    pictures = run("retrace_depth_to_image")
    assert pictures["Result"].shape == pictures["Source"].shape
    assert np.abs(pictures["Result"].astype(int) - pictures["Source"]).mean() > 3


def test_the_upscaler_enlarges(run):
    """The miniature's autoencoder is f8 where the real one is f4, so that 32 pixels become 256."""
    picture = run("retrace_upscale_x4")["Result"]
    assert picture.shape == (256, 256, 3) and picture.std() > 1


def test_img2img_paints_the_prompt_over_the_photo(run):
    pictures = run("retrace_img2img")
    assert pictures["Result"].shape == pictures["Source"].shape
    assert np.abs(pictures["Result"].astype(int) - pictures["Source"]).mean() > 3


def test_four_prompts_and_four_poses_come_as_one_grid(run):
    """What is tested is the batch, the rows and the cells: the miniature knows outlines of shapes, not poses."""
    pictures = run("retrace_controlnet_grid")
    grid = pictures["Result"]
    assert grid.shape == (1028, 1028, 3)
    cells = [grid[y : y + 512, x : x + 512].astype(float) for y in (0, 516) for x in (0, 516)]
    differences = [np.abs(a - b).mean() for index, a in enumerate(cells) for b in cells[:index]]
    assert min(differences) > 5
