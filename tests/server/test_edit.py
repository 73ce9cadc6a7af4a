"""The template's graph in a real ComfyUI, over HTTP and websocket: results, progress, interruption, files, errors."""

import re

import ball
import numpy as np
import pytest
from retrace_pack.batch.api import PromptFailedError, PromptInterruptedError


def text(result, node: str) -> str:
    return result.outputs[node]["text"][0]


def psnr(result, node: str) -> float:
    return float(re.search(r"PSNR (\S+) dB", text(result, node))[1])


@pytest.fixture(scope="module")
def edited(server, module_edit_prompt):
    """The whole graph, run once, with all events that arrived."""
    events = []
    return module_edit_prompt, server.run(module_edit_prompt, events.append), events


def test_the_reconstruction_is_the_image_again(edited, by_title):
    prompt, result, _ = edited
    assert psnr(result, by_title(prompt, "Reconstruction against the VAE round trip")) >= 45


def test_the_edit_shows_the_target_on_the_same_background(server, edited, by_title, pixels):
    prompt, result, _ = edited
    assert prompt[by_title(prompt, "Target prompt")]["inputs"]["value"] == ball.AFTER
    (png,) = server.images(result, by_title(prompt, "Edit"))
    assert ball.seen(pixels(png)) == ball.EDITED
    assert psnr(result, by_title(prompt, "Background kept by the edit")) > 26


def test_the_evaluations_are_reported(edited, by_title):
    prompt, result, _ = edited
    assert text(result, by_title(prompt, "Invert")).startswith("100 model evaluations")
    assert text(result, by_title(prompt, "Rebuild")) == "20 model evaluations"


def test_progress_and_previews_arrive_while_it_runs(edited, by_title):
    prompt, _, events = edited
    invert = by_title(prompt, "Invert")
    steps = [event.data["value"] for event in events if event.kind == "progress" and event.data.get("node") == invert]
    # ComfyUI sends the first and the last, and drops those between that follow too soon.
    assert steps == sorted(steps) and 1 <= steps[0] < steps[-1] == 20
    assert len([event for event in events if event.kind == "preview"]) >= len(steps)


def test_the_same_graph_again_runs_nothing(server, edited):
    prompt, _, _ = edited
    again = server.run(prompt)
    assert not [node for node in again.executed if prompt[node]["class_type"] == "RetraceDDIMInvert"]


def test_a_stock_sampler_in_the_graph_gives_the_same_picture(server, edited, by_title, pixels):
    """SamplerCustomAdvanced with DisableNoise and the remaining SIGMAS instead of our sampling node."""
    prompt, result, _ = edited
    rebuild, noise = by_title(prompt, "Rebuild"), by_title(prompt, "The noise")
    model, positive = prompt[rebuild]["inputs"]["model"], prompt[rebuild]["inputs"]["positive"]
    vae = prompt[by_title(prompt, "Encode")]["inputs"]["vae"]
    stock = {
        **prompt,
        "noise": {"class_type": "DisableNoise", "inputs": {}},
        "guider": {"class_type": "BasicGuider", "inputs": {"model": model, "conditioning": positive}},
        "euler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "sample": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["noise", 0],
                "guider": ["guider", 0],
                "sampler": ["euler", 0],
                "sigmas": [noise, 1],
                "latent_image": [noise, 0],
            },  # fmt: skip
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["sample", 0], "vae": vae}},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "stock"}},
    }
    stock_result = server.run(stock)
    (theirs,) = server.images(stock_result, "save")
    (ours,) = server.images(result, by_title(prompt, "Reconstruction"))
    assert int(np.abs(pixels(theirs).astype(int) - pixels(ours)).max()) <= 1


def test_an_interrupt_in_the_middle_leaves_nothing_partial(server, edit_prompt, by_title, needed):
    """The network waits inside the fourth step, so that the interrupt comes there on a machine of any speed."""
    rebuilt = by_title(edit_prompt, "Reconstruction against the VAE round trip")
    invert, rebuild = (by_title(edit_prompt, title) for title in ("Invert", "Rebuild"))
    prompt = needed(edit_prompt, rebuilt)
    for node in (invert, rebuild):
        prompt[node]["inputs"]["steps"] = 7
    model = prompt[invert]["inputs"]["model"]
    prompt["hold"] = {"class_type": "HoldModel", "inputs": {"model": model, "call": 18, "file": "hold"}}
    prompt[invert]["inputs"]["model"] = ["hold", 0]
    hold = server.base / "input" / "hold"
    hold.touch()
    started, finished = [], []

    def interrupt_once_it_steps(event):
        if event.kind == "executed":
            finished.append(event.node)
        if event.kind == "progress" and event.data.get("node") == invert:
            if not started:
                server.interrupt()
            started.append(event.data["value"])

    with pytest.raises(PromptInterruptedError):
        server.run(prompt, interrupt_once_it_steps)
    hold.unlink()
    assert started and max(started) < 7 and invert not in finished
    result = server.run(prompt)
    assert invert in result.executed
    assert text(result, invert).startswith("35 model evaluations")
    assert psnr(result, rebuilt) >= 45


def test_a_saved_trajectory_is_loaded_to_the_same_pixels(server, edited, by_title, pixels, needed):
    prompt, result, _ = edited
    invert = by_title(prompt, "Invert")
    saving = {**prompt, "save": {
        "class_type": "RetraceSaveTrajectory",
        "inputs": {"trajectory": [invert, 0], "filename_prefix": "trajectories/test"},
    }}  # fmt: skip
    name = text(server.run(saving), "save")
    assert (server.base / "output" / name).is_file()
    loading = {node: content for node, content in prompt.items() if node != invert}
    loading["load"] = {"class_type": "RetraceLoadTrajectory", "inputs": {"name": f"{name} [output]"}}
    for content in loading.values():
        inputs = content["inputs"]
        if inputs.get("trajectory") == [invert, 0]:
            inputs["trajectory"] = ["load", 0]
        if inputs.get("latent") == [invert, 1]:
            inputs["latent"] = [by_title(prompt, "The noise"), 0]
    edit = by_title(prompt, "Edit")
    (before,), (after,) = (server.images(each, edit) for each in (result, server.run(needed(loading, edit))))
    assert np.array_equal(pixels(after), pixels(before))


@pytest.mark.parametrize(
    ("title", "changes", "message"),
    [
        ("Invert", {"steps": 1000}, "begin at timestep 1000, beyond the model's last (999); choose fewer steps"),
        (
            "The state at the start step",
            {"start_step": 20},
            "start_step 20 is beyond the trajectory's 20 steps; choose 0 to 19",
        ),
        ("Rebuild", {"start_step": 60}, "start_step 60 and end_step 20 do not lie in the 20 steps"),
        ("Rebuild", {"row_seeds": "1,2"}, "row_seeds '1,2' is not a list of 1 whole numbers"),
    ],
)
def test_bad_input_is_refused_on_its_node(server, edit_prompt, by_title, title, changes, message):
    node = by_title(edit_prompt, title)
    edit_prompt[node]["inputs"].update(changes)
    with pytest.raises(PromptFailedError) as failure:
        server.run(edit_prompt)
    assert message in failure.value.message
    assert failure.value.event["node_id"] == node


def test_names_outside_of_comfyuis_folders_are_refused(server, edit_prompt, by_title):
    invert = by_title(edit_prompt, "Invert")
    edit_prompt["save"] = {
        "class_type": "RetraceSaveTrajectory",
        "inputs": {"trajectory": [invert, 0], "filename_prefix": "../../escaped"},
    }
    with pytest.raises(PromptFailedError, match="does not name a file inside ComfyUI's output folder"):
        server.run(edit_prompt)
    assert not list(server.base.parent.glob("escaped*"))
