"""The first reconstruction templates, each queued in a real ComfyUI; null-text embeddings that survive a restart of the server."""

import os
import re
from pathlib import Path

import ball
import numpy as np
import pytest
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURES = ROOT / ".dev" / "miniatures"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
STEPS = 10
RESTART_STEPS = 5
PROMPTS = {"Source prompt": ball.BEFORE, "Target prompt": ball.AFTER}
# Template -> the least PSNR of its reconstruction against the VAE's round trip, in dB, with 10 steps.
FLOORS = {
    "retrace_null_text": 30.0,
    "retrace_negative_prompt": 40.0,
    "retrace_exact": 60.0,
    "retrace_edit_friendly": 60.0,
    "retrace_direct": 60.0,
}


def miniature(prompt, steps=STEPS):
    """A template's prompt on the photo and the miniature, with its words and fewer steps."""
    for node in prompt.values():
        inputs, title = node["inputs"], node["_meta"]["title"]
        if node["class_type"] == "CheckpointLoaderSimple":
            inputs["ckpt_name"] = "tiny_sd15.safetensors"
        if node["class_type"] == "LoadImage":
            inputs["image"] = "ball.png"
        if node["class_type"] == "ImageScale":
            inputs.update(width=256, height=256)
        if title in PROMPTS:
            inputs["text"] = PROMPTS[title]
        for name in ("steps", "start_step", "start_at_step"):
            if name in inputs:
                inputs[name] = inputs[name] * steps // 50
    return prompt


def optimizer(prompt):
    """The node that optimizes; its title is spelled otherwise in the saved workflow."""
    return next(node for node, content in prompt.items() if content["class_type"] == "RetraceNullTextOptimize")


def psnr(result, node):
    return float(re.search(r"PSNR (\S+) dB", result.outputs[node]["text"][0])[1])


def progress_texts(events, node):
    """The progress texts that a node showed."""
    return [event.data["text"] for event in events if event.kind == "text" and event.node == node]


@pytest.fixture(scope="module")
def finished(server, template_prompt):
    """Template name -> its prompt, result and events; each is run once."""
    runs = {}

    def run(name):
        if name not in runs:
            events = []
            prompt = miniature(template_prompt(name, server.get("/object_info")))
            runs[name] = prompt, server.run(prompt, events.append), events
        return runs[name]

    return run


@pytest.mark.parametrize("name", FLOORS)
def test_a_template_gives_the_picture_back_under_guidance_and_edits_it(server, finished, by_title, pixels, name):
    prompt, result, _ = finished(name)
    assert psnr(result, by_title(prompt, "Reconstruction against the VAE round trip")) >= FLOORS[name]
    (source,), (edit,) = (server.images(result, by_title(prompt, title)) for title in ("Source", "Edit"))
    assert pixels(edit).shape == pixels(source).shape
    red, green, blue = pixels(edit)[ball.mask()].mean(axis=0)
    assert blue > red + 30 and blue > green + 20, "the red ball is not blue"


def test_the_held_source_is_the_round_trip_itself_and_the_one_let_go_is_not(finished, by_title):
    prompt, result, _ = finished("retrace_direct")
    held = psnr(result, by_title(prompt, "Reconstruction against the VAE round trip"))
    let_go = psnr(result, by_title(prompt, "Let go, against the VAE round trip"))
    assert let_go < 35 < held


def test_edit_sample_and_the_stock_sampler_make_the_same_null_text_edit(server, finished, by_title, pixels):
    prompt, result, _ = finished("retrace_null_text")
    (stock,), (own,) = (server.images(result, by_title(prompt, title)) for title in ("Edit", "The same edit"))
    assert int(np.abs(pixels(stock).astype(int) - pixels(own)).max()) <= 1


def test_the_optimization_tells_of_itself(server, finished, by_title, pixels):
    prompt, result, events = finished("retrace_null_text")
    optimize = optimizer(prompt)
    line = re.compile(r"step (\d+) of 10, inner step \d+: loss [\d.e+-]+(, about \d+ (s|min) left)?$")
    told = [line.match(text) for text in progress_texts(events, optimize)]
    assert {int(each[1]) for each in told if each} == set(range(1, STEPS + 1))
    assert int(re.match(r"model work (\d+) ", result.outputs[optimize]["text"][0])[1]) > STEPS
    (loss,) = server.images(result, optimize)
    assert pixels(loss).std() > 5
    bar = [event.data for event in events if event.kind == "progress" and event.data.get("node") == optimize]
    values = [data["value"] for data in bar]
    assert values == sorted(values) and bar[-1]["max"] == STEPS * prompt[optimize]["inputs"]["inner_steps"]
    history = server.history(result.prompt_id)
    assert history["outputs"][optimize]["images"] and history["status"]["status_str"] == "success"


def edit_from(trajectory, model, clip, vae):
    """Two edits of an optimized trajectory: by a stock sampler with its embeddings, and by Edit Sample."""
    return {
        "target": {
            "class_type": "CLIPTextEncode",
            "inputs": {"clip": clip, "text": PROMPTS["Target prompt"]},
        },
        "null": {"class_type": "RetraceNullTextConditioning", "inputs": {"trajectory": trajectory}},
        "state": {"class_type": "RetraceTrajectoryLatent", "inputs": {"trajectory": trajectory, "start_step": 2}},
        "stock": {
            "class_type": "KSamplerAdvanced",
            "inputs": {
                "model": model,
                "positive": ["target", 0],
                "negative": ["null", 0],
                "latent_image": ["state", 0],
                "add_noise": "disable",
                "noise_seed": 0,
                "steps": RESTART_STEPS,
                "cfg": 7.5,
                "sampler_name": "euler",
                "scheduler": "ddim_uniform",
                "start_at_step": 2,
                "end_at_step": 10000,
                "return_with_leftover_noise": "disable",
            },
        },
        "own": {
            "class_type": "RetraceEditSample",
            "inputs": {
                "model": model,
                "trajectory": trajectory,
                "positive": ["target", 0],
                "cfg": 7.5,
                "start_step": 2,
                "hold_source": True,
                "pull_back": 0.0,
                "pull_back_below": 400,
                "pull_back_quantile": 0.7,
                "pull_back_dilation": 1,
            },
        },
        **{
            f"{name} {part}": node
            for name in ("stock", "own")
            for part, node in {
                "decode": {"class_type": "VAEDecode", "inputs": {"samples": [name, 0], "vae": vae}},
                "save": {
                    "class_type": "SaveImage",
                    "inputs": {"images": [f"{name} decode", 0], "filename_prefix": name},
                },
            }.items()
        },
    }


def test_saved_embeddings_edit_to_the_same_bytes_after_a_restart(template_prompt, tmp_path):
    """Invert, optimize, save, restart the server, load, edit."""

    def comfyui():
        # Without metadata a PNG holds its pixels and nothing of the graph that made it.
        return ComfyServer(
            Path(os.environ["COMFYUI_PATH"]),
            custom_nodes={"retrace": ROOT, "tiny_models": LOADER},
            models={"checkpoints": MINIATURES},
            arguments=["--disable-metadata"],
            directory=tmp_path,
        )

    def edits(server, result):
        return [server.images(result, f"{name} save") for name in ("stock", "own")]

    with comfyui() as server:
        ball.write(server.base / "input")
        template = miniature(template_prompt("retrace_null_text", server.get("/object_info")), RESTART_STEPS)
        ids = {content["_meta"]["title"]: node for node, content in template.items()}
        wanted = ("Checkpoint", "Photo", "Resize", "Source prompt", "Negative prompt", "Encode", "Invert")
        prompt = {ids[title]: template[ids[title]] for title in wanted}
        checkpoint, optimize = ids["Checkpoint"], optimizer(template)
        prompt[optimize] = template[optimize]
        prompt[optimize]["inputs"].update(inner_steps=2, residual=True)
        prompt["saved"] = {
            "class_type": "RetraceSaveTrajectory",
            "inputs": {"trajectory": [optimize, 0], "filename_prefix": "trajectories/optimized"},
        }
        prompt |= edit_from([optimize, 0], *([checkpoint, output] for output in range(3)))
        result = server.run(prompt)
        before = edits(server, result)
        name = result.outputs["saved"]["text"][0]

    with comfyui() as server:
        prompt = {checkpoint: template[checkpoint]}
        prompt["loaded"] = {"class_type": "RetraceLoadTrajectory", "inputs": {"name": f"{name} [output]"}}
        prompt |= edit_from(["loaded", 0], *([checkpoint, output] for output in range(3)))
        result = server.run(prompt)
        assert "loaded" in result.executed
        after = edits(server, result)

    assert [len(images) for images in before] == [1, 1]
    assert after == before
    assert before[0] != before[1], "the residual, which only Edit Sample knows, must show"
