"""The first inpainting templates in a real ComfyUI, as shipped except for the file names, on the miniatures' layouts."""

import os
from pathlib import Path

import ball
import numpy as np
import pytest
from layout_files import write_all
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURES, WEIGHTS = ROOT / ".dev" / "miniatures", ROOT / "tests" / "tiny_models" / "weights"


@pytest.fixture(scope="module")
def inpainting_server(tmp_path_factory):
    """A separate ComfyUI, with checkpoints of every layout and photos with a painted mask (LoadImage's alpha)."""
    folder = tmp_path_factory.mktemp("layouts")
    write_all(folder)
    models = {f"checkpoints/{path.name}": path for path in (*folder.iterdir(), MINIATURES / "tiny_sd15.safetensors")}
    models["controlnet/tiny_controlnet.safetensors"] = WEIGHTS / "tiny_controlnet.safetensors"
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "upscaler": ROOT / "tests" / "server" / "upscaler_pack"},
        models=models,
        arguments=("--use-pytorch-cross-attention",),
    ) as server:
        ball.write(server.base / "input")
        yield server


SMALL = {"width": 128, "height": 128}
FOR_THE_MINIATURE = {
    "Photo": {"image": "painted part.png"},
    "Depth map": {"image": "painted part.png"},
    "Resize": SMALL,
    "Resize the mask": SMALL,
    "Resize the depth": SMALL,
    "ControlNet": {"control_net_name": "tiny_controlnet.safetensors"},
    "Four prompts": {
        "source_prompt": "a photo of a large matte red ball on a wooden floor, white wall",
        "target_prompts": "a photo of a large matte green cube on a stone floor, blue wall\n"
        "a photo of a large matte black cone on a sandy floor, pink wall\n"
        "a photo of a large matte white cylinder on a grassy floor, gray wall",
    },
    "Four empty latents": SMALL,
    "Source prompt": {"text": ball.BEFORE},
    "Prompt": {"text": ball.AFTER},
}
WHOLE = {"width": 256, "height": 256}
OF_ITS_OWN = {
    "retrace_inpaint_trajectory": {
        "Photo": {"image": "painted ball.png"}, "Resize": WHOLE, "Resize the mask": WHOLE,
    },
    "retrace_upscale_x4": {"Resize": {"width": 32, "height": 32}, "Sample": {"steps": 10}},
}  # fmt: skip
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
            changes = {**FOR_THE_MINIATURE, **checkpoint, **OF_ITS_OWN.get(template, {})}
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
    whole = template == "retrace_inpaint_trajectory"
    box = ball.around(ball.mask() if whole else ball.mask()[ball.PART])
    allowed = ball.around(box, room=5)  # the template grows the mask by four pixels
    assert np.array_equal(result[~allowed], source[~allowed])
    assert np.abs(result[box].astype(int) - source[box]).mean() > 5


def test_the_trajectory_template_paints_what_the_prompt_says(run):
    assert ball.seen(run("retrace_inpaint_trajectory")["Inpainted"]) == ball.EDITED


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
    """What is tested is the batch, the rows and the cells: the miniature knows outlines of solids, not poses."""
    pictures = run("retrace_controlnet_grid")
    grid = pictures["Result"]
    assert grid.shape == (1028, 1028, 3)
    cells = [grid[y : y + 512, x : x + 512].astype(float) for y in (0, 516) for x in (0, 516)]
    differences = [np.abs(a - b).mean() for index, a in enumerate(cells) for b in cells[:index]]
    assert min(differences) > 5
