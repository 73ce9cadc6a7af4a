"""A Flux of random weights in a real ComfyUI, from the files that people load: previews, progress, interruption, a LoRA."""

import io

import comfy.latent_formats
import numpy as np
import pytest
from latent_preview import Latent2RGBPreviewer
from PIL import Image, ImageOps
from retrace_pack.batch.api import PromptInterruptedError
from retrace_pack.inversion.trajectory_file import load_trajectory
from safetensors.torch import load_file

STEPS = 6
PREVIEW_SIDE = 512


def graph():
    continued = {
        "model": ["unet", 0], "trajectory": ["invert", 0], "negative": ["empty", 0], "start_step": 0, "hold_source": True,
        "pull_back": 0.0, "pull_back_below": 400, "pull_back_quantile": 0.7, "pull_back_dilation": 1,
    }  # fmt: skip
    nodes = {
        "unet": ("UNETLoader", {"unet_name": "tiny_flux.safetensors", "weight_dtype": "default"}),
        "clip": (
            "DualCLIPLoader",
            {"clip_name1": "tiny_text.safetensors", "clip_name2": "tiny_text.safetensors", "type": "flux"},
        ),
        "vae": ("VAELoader", {"vae_name": "tiny_vae16.safetensors"}),
        "photo": ("LoadImage", {"image": "part.png"}),
        "encode": ("VAEEncode", {"pixels": ["photo", 0], "vae": ["vae", 0]}),
        "before": ("CLIPTextEncode", {"clip": ["clip", 0], "text": "a photo of a small matte red ball"}),
        "after": ("CLIPTextEncode", {"clip": ["clip", 0], "text": "a photo of a large shiny green cube"}),
        "empty": ("CLIPTextEncode", {"clip": ["clip", 0], "text": ""}),
        "invert": (
            "RetraceFlowInvert",
            {
                "model": ["unet", 0], "positive": ["before", 0], "negative": ["empty", 0], "latent": ["encode", 0],
                "solver": "euler", "steps": STEPS, "cfg": 1.0, "guidance": 1.0, "fixed_point_iterations": 0,
                "acceleration": "none", "seed": 0,
            },
        ),
        "back": ("RetraceEditSample", {**continued, "positive": ["before", 0], "cfg": 1.0}),
        "plain": ("RetraceEditSample", {**continued, "positive": ["before", 0], "cfg": 1.0, "align": "off"}),
        "edit": ("RetraceEditSample", {**continued, "positive": ["after", 0], "cfg": 2.0}),
        "guider": ("BasicGuider", {"model": ["unet", 0], "conditioning": ["before", 0]}),
        "euler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "stock": (
            "SamplerCustomAdvanced",
            {
                "noise": ["invert", 1], "guider": ["guider", 0], "sampler": ["euler", 0], "sigmas": ["invert", 3],
                "latent_image": ["encode", 0],
            },
        ),
    }  # fmt: skip
    nodes |= {
        f"{name} saved": ("SaveLatent", {"samples": [name, 0], "filename_prefix": "flow"})
        for name in ("encode", "back", "plain", "edit", "stock")
    }
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def latents(server, result, *nodes):
    files = [result.outputs[f"{node} saved"]["latents"][0]["filename"] for node in nodes]
    return [load_file(server.base / "output" / name)["latent_tensor"] for name in files]


@pytest.fixture(scope="module")
def ran(server):
    """The whole graph, run once: its result, the progress that each node showed, and its last preview [512, 512, 3]."""
    saved = {"trajectory": ["invert", 0], "filename_prefix": "trajectories/flow"}
    prompt = {**graph(), "saved": {"class_type": "RetraceSaveTrajectory", "inputs": saved}}
    steps, previews, running = {}, {}, []

    def note(event):
        if event.kind == "executing":
            running.append(event.node)
        elif event.kind == "progress":
            steps.setdefault(event.node, []).append((event.data["value"], event.data["max"]))
        elif event.kind == "preview":
            previews[running[-1]] = np.asarray(Image.open(io.BytesIO(event.data["bytes"])).convert("RGB"))

    return server.run(prompt, note), steps, previews


def away_from(preview, state):
    """The mean difference, in levels of 0 to 255, from the preview of a state [1, C, H, W] in the network's scale."""
    form = comfy.latent_formats.Flux()
    previewer = Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    small = previewer.decode_latent_to_preview(state)
    expected = ImageOps.contain(small, (PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.BILINEAR)
    return np.abs(preview.astype(float) - np.asarray(expected)).mean()


def test_progress_goes_up_to_the_last_step_and_calls_are_reported(ran):
    result, steps, _ = ran
    for node in ("invert", "edit"):
        values = [value for value, _ in steps[node]]
        assert values == sorted(values) and steps[node][-1] == (STEPS, STEPS)
    assert result.outputs["invert"]["text"][0].startswith(f"{STEPS} model evaluations")
    assert result.outputs["edit"]["text"] == [f"{2 * STEPS} model evaluations for each of 1 row"]


def test_the_preview_is_the_denoised_picture(server, ran):
    result, _, previews = ran
    trajectory = load_trajectory(server.base / "output" / result.outputs["saved"]["text"][0])
    before, last = comfy.latent_formats.Flux().process_in(trajectory.latents)[-2:]
    s_before, s_last = trajectory.sigmas[-2:]
    denoised = before - s_last * (last - before) / (s_last - s_before)
    assert away_from(previews["invert"], denoised) < 3
    assert min(away_from(previews["invert"], each) for each in (before, last)) > 10
    edited, image = map(comfy.latent_formats.Flux().process_in, latents(server, result, "edit", "encode"))
    assert away_from(previews["edit"], edited) < 3 and away_from(previews["edit"], image) > 10


def test_the_photo_comes_back_and_a_stock_sampler_goes_the_plain_way(server, ran):
    image, back, edited, plain, stock = latents(server, ran[0], "encode", "back", "edit", "plain", "stock")
    scale = float(image.abs().max())
    assert float((back - image).abs().max()) <= 1e-6 * scale
    assert float((stock - plain).abs().max()) <= 1e-5 * scale
    assert float((edited - image).abs().max()) > 0.01 * scale < 100 * float((plain - image).abs().max())


def test_an_interrupt_in_the_middle_leaves_nothing_partial(server):
    """The network waits inside the fourth of seven steps, so that the interrupt comes there on a machine of any speed."""
    prompt = graph()
    prompt["hold"] = {"class_type": "HoldModel", "inputs": {"model": ["unet", 0], "call": 4, "file": "hold flow"}}
    prompt["invert"]["inputs"] |= {"model": ["hold", 0], "steps": 7}
    hold = server.base / "input" / "hold flow"
    hold.touch()
    seen, finished = [], []

    def interrupt_once_it_steps(event):
        if event.kind == "executed":
            finished.append(event.node)
        if event.kind == "progress" and event.node == "invert":
            if not seen:
                server.interrupt()
            seen.append(event.data["value"])

    with pytest.raises(PromptInterruptedError):
        server.run(prompt, interrupt_once_it_steps)
    hold.unlink()
    assert seen and max(seen) < 7 and "invert" not in finished
    result = server.run(prompt)
    assert "invert" in result.executed and result.outputs["invert"]["text"][0].startswith("7 model evaluations")
    image, back = latents(server, result, "encode", "back")
    assert float((back - image).abs().max()) <= 1e-6 * float(image.abs().max())


def test_the_easy_node_edits_with_each_sentence_by_itself(server):
    loaders = {name: content for name, content in graph().items() if name in ("unet", "clip", "vae", "photo")}
    loaders["unet"]["inputs"]["unet_name"] = "tiny_flux_guided.safetensors"
    inputs = {
        "model": ["unet", 0], "clip": ["clip", 0], "vae": ["vae", 0], "image": ["photo", 0], "change": "everything",
        "before": "a photo of a small matte red ball", "after": "a photo of a small matte green ball\na photo of a large cube",
        "strength": 1.0, "seed": 0, "steps": STEPS, "cfg": 0.0, "working_size": 128,
    }  # fmt: skip
    prompt = {
        **loaders,
        "easy": {"class_type": "RetraceEditImage", "inputs": inputs},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["easy", 0], "filename_prefix": "easy flow"}},
    }
    result = server.run(prompt)
    photo = np.asarray(Image.open(server.base / "input" / "part.png").convert("RGB"))
    edits = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in server.images(result, "save")]
    assert [edit.shape for edit in edits] == [photo.shape] * 2
    assert (edits[0] != edits[1]).any() and all((edit != photo).any() for edit in edits)
    assert any("aligned inversion, guidance 3.5" in line for line in result.outputs["easy"]["text"])


def test_a_lora_changes_the_way_there_and_back_alike(server, ran):
    prompt = graph()
    lora = {"model": ["unet", 0], "lora_name": "lora.safetensors", "strength_model": 1.0}
    prompt["lora"] = {"class_type": "LoraLoaderModelOnly", "inputs": lora}
    for name in ("invert", "back", "plain", "edit", "guider"):
        prompt[name]["inputs"]["model"] = ["lora", 0]
    result = server.run(prompt)
    image, back, edited, plain, stock = latents(server, result, "encode", "back", "edit", "plain", "stock")
    scale = float(image.abs().max())
    assert float((back - image).abs().max()) <= 1e-6 * scale
    assert float((stock - plain).abs().max()) <= 1e-5 * scale
    (without,) = latents(server, ran[0], "edit")
    assert float((edited - without).abs().max()) > 1e-3 * scale
