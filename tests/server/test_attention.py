"""The first attention-editing templates, each queued in a real ComfyUI with the miniature model: what their pictures show."""

import json
from pathlib import Path

import numpy as np
import pytest
from retrace_pack.batch.api import PromptFailedError

ROOT = Path(__file__).resolve().parent.parent.parent
STEPS = 20
SOURCE = "a large white triangle on a purple background"
TARGET = "a large green triangle on a purple background"
TEMPLATES = {
    "retrace_prompt_to_prompt": TARGET,
    "retrace_masactrl": "a large white star on a purple background",
    "retrace_plug_and_play": TARGET,
    "retrace_attention_mask": None,
}


@pytest.fixture(scope="module")
def miniature(server, template_prompt):
    """Template -> the prompt that the frontend would queue, with the shipped checkpoint, image and prompts, and fewer steps."""
    object_info = server.get("/object_info")

    def prompt_of(name: str):
        prompt = template_prompt(name, object_info)
        changes = {
            "Checkpoint": {"ckpt_name": "tiny_sd15.safetensors"},
            "Photo": {"image": "demo.png"},
            "Resize": {"width": 128, "height": 128},
            "Source prompt": {"value": SOURCE},
            "Target prompt": {"value": TEMPLATES[name]},
            "Invert": {"steps": STEPS},
            "Edit under attention control": {"cfg": 4.0},
            "The same swap without it": {"cfg": 4.0},
            "Attention Mask": {"method.words": "triangle"},
        }
        for node in prompt.values():
            node["inputs"].update(changes.get(node["_meta"]["title"], {}))
            if node["class_type"] == "RetracePromptToPrompt" and node["inputs"]["blend_words"]:
                node["inputs"].update(blend_words="triangle", blend_threshold=0.6, cross_replace=0.8, self_replace=0.8)
        return prompt

    return prompt_of


@pytest.fixture(scope="module")
def finished(server, miniature, saved_pictures):
    """Template -> (title -> its image), each run once."""
    runs = {}

    def run(name: str):
        if name not in runs:
            runs[name] = saved_pictures(server, miniature(name))
        return runs[name]

    return run


def demo_mask():
    from PIL import Image

    return np.asarray(Image.open(ROOT / "tests" / "tiny_sd" / "demo_mask.png").convert("L")) > 127


def difference(first, second, where):
    return float(np.abs(first.astype(float) - second)[where].mean())


def test_prompt_to_prompt_changes_the_word_and_keeps_the_rest(finished):
    from judge import judge

    pictures = finished("retrace_prompt_to_prompt")
    edit, source, swap = (
        pictures[title] for title in ("Edit", "Source as the model has it", "Without attention control")
    )
    verdict = judge(edit)
    assert (verdict.color, verdict.shape, verdict.background) == ("green", "triangle", "purple")
    outside = ~demo_mask()
    assert difference(edit, source, outside) < 0.5 * difference(swap, source, outside)


@pytest.mark.parametrize("name", ["retrace_masactrl", "retrace_plug_and_play"])
def test_an_edit_stays_nearer_to_the_source_than_the_plain_swap(finished, name):
    pictures = finished(name)
    edit, source, swap = (
        pictures[title] for title in ("Edit", "Source as the model has it", "Without attention control")
    )
    everywhere = np.ones_like(demo_mask())
    assert 0 < difference(edit, source, everywhere) < difference(swap, source, everywhere)


def test_a_word_is_found_in_the_picture(finished):
    mask = finished("retrace_attention_mask")["Mask"][..., 0] > 127
    truth = demo_mask()
    assert (mask & truth).sum() / (mask | truth).sum() > 0.35
    assert mask[truth].mean() > 0.7


def test_a_missing_word_is_told_on_its_node(server, miniature, by_title):
    prompt = miniature("retrace_prompt_to_prompt")
    node = by_title(prompt, "Prompt to Prompt")
    prompt[node]["inputs"]["blend_words"] = "zebra"
    with pytest.raises(PromptFailedError, match="Prompt to Prompt: blend_words: the word 'zebra' is not in") as failure:
        server.run(prompt)
    assert failure.value.event["node_id"] == node


def blueprint_prompt(api_prompt, object_info, values):
    """The prompt that the frontend would queue for the blueprint: its inner nodes, with values for its inputs."""
    path = ROOT / "subgraphs" / "Edit a real image.json"
    (subgraph,) = json.loads(path.read_text(encoding="utf-8"))["definitions"]["subgraphs"]
    assert all(each["label"] for each in (*subgraph["inputs"], *subgraph["outputs"]))
    given = [values[declared["name"]] for declared in subgraph["inputs"]]
    sources = {}
    for link in subgraph["links"]:
        origin, slot = link["origin_id"], link["origin_slot"]
        sources[link["id"]] = given[slot] if origin < 0 else [str(origin), slot]
    (last,) = (link for link in subgraph["links"] if (link["target_id"], link["target_slot"]) == (-20, 0))
    return api_prompt(subgraph, object_info, sources), sources[last["id"]]


def test_the_blueprint_edits_a_picture(server, api_prompt, by_title, pixels):
    from judge import judge

    listed = server.get("/global_subgraphs")
    assert "Edit a real image" in {entry["name"] for entry in listed.values()}
    prompt, result = blueprint_prompt(
        api_prompt,
        server.get("/object_info"),
        {
            "image": ["photo", 0],
            "mask": ["photo", 1],
            "before": SOURCE,
            "after": TARGET,
            "change": "auto",
            "strength": 1.0,
            "cfg": 0.0,
            "ckpt_name": "tiny_sd15.safetensors",
        },
    )
    prompt[by_title(prompt, "Edit Image")]["inputs"].update(steps=STEPS, working_size=128)
    photo = {"class_type": "LoadImage", "inputs": {"image": "demo.png"}}
    save = {"class_type": "SaveImage", "inputs": {"images": result, "filename_prefix": "blueprint"}}
    (png,) = server.images(server.run({**prompt, "photo": photo, "save": save}), "save")
    verdict = judge(pixels(png))
    assert (verdict.color, verdict.shape, verdict.background) == ("green", "triangle", "purple")
