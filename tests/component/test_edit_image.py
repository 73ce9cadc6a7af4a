"""The graph that RetraceEditImage stands for, what it decides, and what it refuses before anything runs."""

from types import SimpleNamespace

import pytest
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder
from node_call import run_node
from random_flows import random_flow
from retrace_pack.editing.kinds import KINDS
from retrace_pack.editing.recipes import RECIPES
from retrace_pack.host.expansion import ABOVE
from retrace_pack.host.model_family import model_family
from retrace_pack.nodes import NODES, edit_image
from retrace_pack.nodes.edit_image import RetraceEditImage

import nodes as core

BEFORE, AFTER = "a red car in the rain", "a blue car in the rain"
LINKS = {name: [name, 0] for name in ("model", "clip", "vae", "image", "mask")}
KNOWN = {node.define_schema().node_id: node for node in NODES}


class Prompt:
    """What ComfyUI hands a node of the running prompt; the model comes through a LoRA from a checkpoint."""

    def __init__(self, checkpoint="v1-5-pruned.safetensors", lora="style.safetensors"):
        self.nodes = {
            "easy": {"inputs": {**LINKS, "before": BEFORE}},
            "model": {"inputs": {"model": ["checkpoint", 0], "lora_name": lora}},
            "checkpoint": {"inputs": {"ckpt_name": checkpoint}},
        }

    def get_node(self, node_id):
        return self.nodes[node_id]


@pytest.fixture
def told(monkeypatch):
    """The texts that the node shows."""
    texts = []
    monkeypatch.setattr(edit_image, "report", lambda node, text: texts.append(text) or {})
    return texts


@pytest.fixture
def expand(models, monkeypatch, told):
    """Inputs -> what the node hands to ComfyUI."""
    monkeypatch.setattr(edit_image, "backbone_of", lambda model: SimpleNamespace(prompt_tokens=lambda clip, text: None))

    def run(prompt=None, **inputs):
        hidden = {io.Hidden.unique_id: "easy", io.Hidden.dynprompt: prompt or Prompt()}
        node = RetraceEditImage.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
        given = {
            "model": models("sd15")[0], "clip": object(), "vae": object(), "image": torch.rand(1, 300, 400, 3),
            "before": BEFORE, "after": AFTER, **inputs,
        }  # fmt: skip
        GraphBuilder.set_default_prefix("easy", 0)  # as ComfyUI does before each run of a node
        return run_node(node, **given)

    return run


@pytest.fixture
def edit(expand, told):
    """Inputs -> (the graph's nodes by name, the links of the outputs, the node's text)."""

    def run(prompt=None, **inputs):
        output = expand(prompt, **inputs)
        graph = {
            node_id.rpartition(".")[2]: {"class_type": content["class_type"], "inputs": content["inputs"]}
            for node_id, content in output.expand.items()
        }
        return graph, output.result, told[-1]

    return run


def settings(graph, name, *keys):
    return [graph[name]["inputs"][key] for key in keys]


def test_every_node_of_the_graph_exists_and_every_input_is_its_own(edit):
    for kind in ("auto", *KINDS):
        graph, outputs, _ = edit(change=kind)
        names = {link[0].rpartition(".")[2] for link in outputs}
        assert names == {"composite", "comparison"}
        for content in graph.values():
            declared = content["class_type"]
            if declared in KNOWN:
                schema = KNOWN[declared].define_schema()
                known = {each.id: each for each in schema.inputs}
                required = {each.id for each in schema.inputs if not each.optional}
                assert required <= set(content["inputs"]) <= set(known), declared
            else:
                known = core.NODE_CLASS_MAPPINGS.get(declared)
                assert declared == "ImageStitch" or set(content["inputs"]) == set(known.INPUT_TYPES()["required"])


def test_a_color_blends_by_its_words_and_comes_back_as_a_difference(edit):
    graph, _, text = edit()
    assert settings(graph, "prompts", "source_prompt", "target_prompts", "blend_words") == [BEFORE, AFTER, "auto"]
    assert graph["invert"]["class_type"] == "RetraceDDIMInvert"
    assert settings(graph, "edit", "start_step", "cfg", "hold_source") == [0, 5.0, True]
    assert graph["composite"]["inputs"]["round_trip"][0].endswith("round_trip")
    assert graph["composite"]["inputs"]["mask"][0].endswith("changed")
    assert graph["composite"]["inputs"]["kept_texture"] == "everywhere, edges too"
    assert text == "color or material (read from the sentences): prompt-to-prompt, cfg 5, at 592 x 440"


def test_a_material_replaces_the_surface_and_a_color_does_not(edit):
    """Also where the user has said that it is one of the two."""
    for after, kept in (("a wooden car in the rain", "around the change"), (AFTER, "everywhere, edges too")):
        graph, *_ = edit(after=after, change="color or material")
        assert graph["composite"]["inputs"]["kept_texture"] == kept


@pytest.mark.parametrize(
    ("side", "layers"), [(0, "quarter"), (1024, "quarter"), (384, "half"), (256, "half"), (128, "full")]
)
def test_words_are_found_on_maps_of_sixteen_cells(edit, side, layers):
    graph, *_ = edit(change="color or material", working_size=side)
    assert graph["prompts"]["inputs"]["blend_layers"] == layers


def test_a_style_comes_back_whole_and_a_pose_by_masactrl(edit):
    style = edit(change="style")[0]
    assert style["control"]["class_type"] == "RetracePlugAndPlay" and "changed" not in style
    assert style["composite"]["inputs"]["mask"][0].endswith("crop") and "round_trip" not in style["composite"]["inputs"]
    pose = edit(change="pose")[0]
    assert pose["control"]["class_type"] == "RetraceMasaCtrl" and "changed" in pose
    assert settings(pose, "prompts", "cross_replace", "self_replace", "blend_words") == [0, 0, ""]


def test_the_seed_is_in_the_graph_only_where_noise_is_drawn(edit):
    assert edit(seed=1)[0] == edit(seed=2)[0]
    first, second = (edit(change="everything", seed=seed)[0] for seed in (1, 2))
    assert first["invert"]["class_type"] == "RetraceEditFriendlyInvert" and first != second
    assert {name for name in first if first[name] != second[name]} == {"invert"}


def test_another_sentence_changes_nothing_up_to_the_inversion(edit):
    """The same ids and inputs: ComfyUI finds them in its cache."""
    first, second = edit(after=AFTER)[0], edit(after="a red bus in the rain")[0]
    for name in ("crop", "encode", "round_trip", "before", "empty", "invert"):
        assert first[name] == second[name]
    assert first["prompts"] != second["prompts"]


def test_strength_0_samples_nothing(edit):
    graph, _, _ = edit(strength=0.0, after=f"{AFTER}\n a green car in the rain\n\n")
    assert "invert" not in graph and graph["repeat"]["inputs"]["amount"] == 2
    assert graph["composite"]["inputs"]["round_trip"][0].endswith("round_trip")


def test_a_strength_of_which_no_step_is_left_is_said(edit):
    graph, _, text = edit(strength=0.05, steps=8)
    assert "invert" not in graph and text.endswith("at 592 x 440. strength 0.05 of 8 steps leaves no step")
    assert "leaves no step" not in edit(strength=0.0, steps=8)[2] + edit(strength=0.05)[2]


def above(graph, name):
    """The nodes of the graph that a node depends on, itself included, with their inputs."""
    found, waiting = {}, [name]
    while waiting:
        name = waiting.pop()
        if name in graph and name not in found:
            found[name] = graph[name]
            links = (value for value in graph[name]["inputs"].values() if isinstance(value, list))
            waiting += [str(link[0]).rpartition(".")[2] for link in links]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_strength_changes_the_same_place(edit, kind):
    """The mask is made by the same nodes from the same inputs, so that the changed area never shrinks as strength grows."""
    graphs = {strength: edit(change=kind, strength=strength)[0] for strength in (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)}
    full = graphs[1.0]
    for strength, graph in graphs.items():
        place = graph["composite"]["inputs"]["mask"]
        name = place[0].rpartition(".")[2]
        assert place == full["composite"]["inputs"]["mask"] and above(graph, name) == above(full, name)
        result = above(graph, graph["composite"]["inputs"]["edited"][0].rpartition(".")[2])
        starts = [each["inputs"]["start_step"] for each in result.values() if "hold_source" in each["inputs"]]
        assert starts == [RECIPES["sd1"][kind].start_step(50, strength)]


def test_only_an_edit_that_finds_its_place_samples_the_full_one_too(edit):
    def samplers(**inputs):
        graph = edit(strength=0.5, **inputs)[0]
        return {name for name, each in graph.items() if each["class_type"] == "RetraceEditSample"}

    mask = torch.zeros(1, 300, 400)
    mask[:, 100:200, 100:200] = 1
    assert samplers() == {"edit", "weaker_edit"}
    assert samplers(mask=mask) == samplers(change="style") == {"edit"}


@pytest.mark.parametrize(
    ("inputs", "phases"),
    [
        ({}, {"invert": "inverting the photo", "edit": "editing"}),
        (
            {"strength": 0.5},
            {"invert": "inverting the photo", "edit": "finding the place of the change", "weaker_edit": "editing"},
        ),
        (
            {"model": random_flow("schnell"), "after": f"{AFTER}\na green car in the rain"},
            {
                "invert": "inverting the photo",
                "edit": "editing, sentence 1 of 2",
                "edit_1": "editing, sentence 2 of 2",
            },
        ),
    ],
)
def test_the_nodes_that_take_long_say_which_phase_of_the_edit_they_are(expand, told, inputs, phases):
    """Below the node's text, and before the step: tests/component/test_progress.py."""
    nodes = expand(**inputs).expand
    above = {node_id.rpartition(".")[2]: content["_meta"][ABOVE] for node_id, content in nodes.items()}
    named = {name: text for name, text in above.items() if text != f"{told[-1]}\n"}
    assert named == {name: f"{told[-1]}\n{phase}: " for name, phase in phases.items()}


def test_a_small_mask_is_cut_out_and_an_empty_one_is_said(edit):
    mask = torch.zeros(1, 1200, 1600)
    mask[:, 500:600, 700:800] = 1
    image = torch.rand(1, 1200, 1600, 3)
    graph, _, text = edit(image=image, mask=mask)
    assert graph["crop"]["inputs"]["mask"] == ["mask", 0] and "changed" not in graph
    assert graph["prompts"]["inputs"]["blend_mask"] == graph["composite"]["inputs"]["mask"]
    assert text.endswith("at 512 x 512")
    graph, _, text = edit(mask=torch.zeros(1, 64, 64))
    assert "mask" not in graph["crop"]["inputs"] and text.endswith(
        ". nothing is painted, so that the edit finds its place by itself"
    )


def test_several_kinds_or_none_take_the_safest_row_and_say_so(edit):
    for after in (f"{AFTER}\na dog in the rain", "a blue car with a dog in the snow"):
        graph, _, text = edit(after=after)
        assert text.startswith("the sentences do not say clearly what kind of change this is")
        assert settings(graph, "prompts", "cross_replace", "self_replace") == [0.8, 0.4]
    graph, _, text = edit(before="")
    assert "before is empty" in text and graph["prompts"]["inputs"]["blend_words"] == ""


def test_cfg_and_working_size_are_the_users_where_given(edit):
    graph, _, text = edit(cfg=3.0, working_size=256)
    assert settings(graph, "edit", "cfg") == [3.0] and settings(graph, "crop", "side") == [256]
    assert "cfg 3, at 296 x 224" in text


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"after": " \n"}, "after is empty; write what the photo should show"),
        ({"after": "A red car, in the rain!"}, "after says the same as before"),
        ({"image": torch.rand(2, 64, 64, 3)}, "image is a batch of 2 photos; edit them one at a time"),
        ({"image": torch.rand(1, 64, 64, 4)}, "image has 4 channels; remove its transparency"),
        ({"mask": torch.ones(1, 64, 64)}, "the mask is 64 x 64, the image 400 x 300; paint it on this image"),
        ({"mask": torch.ones(2, 300, 400)}, "there are 2 masks for one photo; give one"),
        ({"working_size": 56}, "working_size is 56, which is too small for a picture; choose at least 64, or 0"),
        ({"steps": 1000}, "begin at timestep 1000"),
        ({"prompt": Prompt("sd_xl_turbo_1.0.safetensors")}, "'sd_xl_turbo_1.0.safetensors' is a model for a few steps"),
        ({"prompt": Prompt(lora="lcm-lora-sdv1-5.safetensors")}, "without its few-step LoRA"),
    ],
)
def test_what_cannot_work_is_refused(edit, inputs, message):
    with pytest.raises(ValueError, match="^Edit Image: ") as refusal:
        edit(**inputs)
    assert message in str(refusal.value)


@pytest.mark.parametrize(("family", "scale"), [("flux", "guidance"), ("schnell", "cfg")])
def test_on_a_flow_each_prompt_is_sampled_by_itself(edit, family, scale):
    graph, outputs, text = edit(model=random_flow(family), after=f"{AFTER}\na green car in the rain", change="auto")
    assert graph["invert"]["class_type"] == "RetraceFlowInvert" and "prompts" not in graph
    assert settings(graph, "invert", "solver", "cfg", "guidance") == ["euler", 1.0, 1.0]
    embedded = family == "flux"
    for name, number in (("edit", 0), ("edit_1", 1)):
        assert settings(graph, name, "cfg", "start_step") == [1.0 if embedded else 5.0, 7]
        positive = "guidance" if embedded else "after"
        assert graph[name]["inputs"]["positive"][0].endswith(f"{positive}_{number}")
    assert ("guidance_0" in graph) == embedded
    assert graph["edit_batch_1"]["class_type"] == "LatentBatch"
    assert graph["decode_edit"]["inputs"]["samples"][0].endswith("edit_batch_1")
    assert f"aligned inversion, {scale} {'3.5' if embedded else '5'}, at 1184 x 888" in text
    for content in graph.values():
        if content["class_type"] in KNOWN:
            declared = {each.id for each in KNOWN[content["class_type"]].define_schema().inputs}
            assert set(content["inputs"]) <= declared


def test_a_working_size_is_one_that_the_models_vae_does_not_cut(edit):
    for family, multiple, size in (("flux", 8, "1184 x 888"), ("flux2", 16, "1184 x 880")):
        graph, _, text = edit(model=random_flow(family))
        assert settings(graph, "crop", "multiple") == [multiple] and text.endswith(f"at {size}")


def test_the_family_of_a_flow():
    named = {
        "flux": "flux", "schnell": "flux_cfg", "flux2": "flux2", "sd3": "sd3", "qwen": "qwen_image", "lumina2": "lumina2",
        "z_image": "z_image", "chroma": "chroma", "anima": "anima",
    }  # fmt: skip
    assert {family: model_family(random_flow(family)) for family in named} == named
    with pytest.raises(ValueError, match=r"there are no settings for this model \(WAN21_T2V\)"):
        model_family(random_flow("wan"))
    klein = random_flow("flux2")
    klein.model.model_config.unet_config["guidance_embed"] = False
    assert model_family(klein) == "flux2_cfg"
    fill = random_flow("flux")
    fill.model.model_config.unet_config["in_channels"] = 96
    with pytest.raises(ValueError, match="takes 96 input channels, as inpainting and depth checkpoints do"):
        model_family(fill)


def test_the_family_of_a_model(models):
    assert [model_family(models(layout)[0]) for layout in ("sd15", "sd2_v", "sdxl")] == ["sd1", "sd2", "sdxl"]
    with pytest.raises(ValueError, match="takes 5 input channels, as inpainting and depth checkpoints do"):
        model_family(models("sd2_depth")[0])
