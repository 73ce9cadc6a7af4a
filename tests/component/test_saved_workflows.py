"""Saved workflows keep opening: node ids, input ids, types, combo values and the order of widgets and outputs do not change.

Each folder of tests/saved_workflows/ is one generation: its templates and, in nodes.json, the declarations of its nodes.
`python dev.py test tests/component/test_saved_workflows.py --keep-generation VERSION` adds the current one.
The frontend assigns stored values to widgets, and links to outputs, by their order.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from retrace_pack.nodes import NODES

ROOT = Path(__file__).resolve().parent.parent.parent
SAVED = ROOT / "tests" / "saved_workflows"
GENERATIONS = sorted(SAVED.iterdir())
WORKFLOWS = [path for folder in GENERATIONS for path in sorted(folder.glob("*.json")) if path.name != "nodes.json"]
DEFINITIONS = {node.define_schema().node_id: node.GET_NODE_INFO_V1() for node in NODES}
CHOICE = "COMFY_DYNAMICCOMBO_V3"
NOTHING_FOUND = "(no "  # how a combo of files says that its folder is empty
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", CHOICE)
UNSET: Any = object()


@dataclass(frozen=True)
class Input:
    """A declared input with its widget's value; UNSET for a socket, and for a widget newer than the workflow."""

    name: str
    kind: str
    options: Mapping[str, Any]
    value: Any

    @property
    def allows_value(self) -> bool:
        if self.value is UNSET:
            return True
        if self.kind == "COMBO":
            return self.value in self.options["options"]
        if self.kind == CHOICE:
            return self.value in [each["key"] for each in self.options["options"]]
        if self.kind == "STRING":
            return isinstance(self.value, str)
        if self.kind == "BOOLEAN":
            return isinstance(self.value, bool)
        return isinstance(self.value, (int, float)) and self.options["min"] <= self.value <= self.options["max"]


def inputs_of(declared: Mapping[str, Any], values: Iterator[Any], prefix: str = "") -> Iterator[Input]:
    """All inputs in the frontend's order; a choice's value adds the inputs of that choice."""
    for name, (kind, options) in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        value = next(values, UNSET) if kind in WIDGETS else UNSET
        yield Input(prefix + name, kind, options, value)
        if options.get("control_after_generate") or options.get("image_upload"):
            next(values, UNSET)  # the frontend's own widget behind this one
        for option in options["options"] if kind == CHOICE else ():
            if option["key"] == value:
                yield from inputs_of(option["inputs"], values, f"{prefix}{name}.")


def stored_nodes(graph: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    graphs = [graph, *graph.get("definitions", {}).get("subgraphs", [])]
    return [node for each in graphs for node in each["nodes"] if node["type"].startswith("Retrace")]


def what_breaks(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[str]:
    """The parts of a stored node that do not fit the current definitions."""
    if node["type"] not in definitions:
        return [f"{node['type']} is gone"]
    definition = definitions[node["type"]]
    values = iter(node["widgets_values"])
    inputs = {each.name: each for each in inputs_of(definition["input"], values)}
    given = [each.name for each in inputs.values() if each.value is not UNSET]
    slots = node["inputs"]
    widgets = [slot["name"] for slot in slots if "widget" in slot]
    stored = [(slot["name"], slot["type"]) for slot in node["outputs"]]
    outputs = list(zip(definition["output_name"], definition["output"], strict=True))
    return [
        *(f"no input {slot['name']}" for slot in slots if slot["name"] not in inputs),
        *(f"{slot['name']} is no {slot['type']}" for slot in slots
          if slot["name"] in inputs and inputs[slot["name"]].kind != slot["type"]),
        *(f"{each.name} does not allow {each.value}" for each in inputs.values() if not each.allows_value),
        *([f"the widgets {widgets} are {given}"] if widgets != given else []),
        *(f"a value too many: {value}" for value in values),
        *([f"the outputs {stored} are {outputs}"] if outputs[: len(stored)] != stored else []),
    ]  # fmt: skip


def promises(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What workflows rely on in a definition: inputs in order with their types, the values of combos, outputs in order."""
    inputs = list(declared_inputs(definition["input"]))
    outputs = zip(definition["output_name"], definition["output"], strict=True)
    return {"inputs": inputs, "outputs": [list(each) for each in outputs]}


def declared_inputs(declared: Mapping[str, Any], prefix: str = "") -> Iterator[list[Any]]:
    """[id, type, values] of all inputs, including those of every option of a choice."""
    for name, (kind, options) in {**declared.get("required", {}), **declared.get("optional", {})}.items():
        if kind == CHOICE:
            yield [prefix + name, kind, [each["key"] for each in options["options"]]]
            for option in options["options"]:
                yield from declared_inputs(option["inputs"], f"{prefix}{name}={option['key']}.")
        else:
            values = options["options"] if kind == "COMBO" else []
            yield [prefix + name, kind, [value for value in values if not value.startswith(NOTHING_FOUND)]]


def broken_promises(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    inputs = {name: (kind, values) for name, kind, values in now["inputs"]}
    kept = [name for name in inputs if name in {each[0] for each in then["inputs"]}]
    return [
        *(f"no input {name}" for name, _, _ in then["inputs"] if name not in inputs),
        *(f"{name} was a {kind}" for name, kind, _ in then["inputs"] if name in inputs and inputs[name][0] != kind),
        *(f"{name} had {value}" for name, _, values in then["inputs"] if name in inputs
          for value in values if value not in inputs[name][1]),
        *(["another order of inputs"] if kept != [each[0] for each in then["inputs"] if each[0] in inputs] else []),
        *(["other outputs"] if now["outputs"][: len(then["outputs"])] != then["outputs"] else []),
    ]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def kept_generation(request):
    """If a name is given, save the current templates and nodes as the generation of this name."""
    if name := request.config.getoption("--keep-generation"):
        folder = SAVED / name
        folder.mkdir()
        for path in (ROOT / "workflows").glob("*.json"):
            shutil.copy(path, folder)
        lines = [f"{json.dumps(node)}: {json.dumps(promises(each))}" for node, each in sorted(DEFINITIONS.items())]
        (folder / "nodes.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def test_the_first_generation_is_whole():
    assert len([path for path in WORKFLOWS if path.parent == GENERATIONS[0]]) == 17
    assert len(json.loads((GENERATIONS[0] / "nodes.json").read_text(encoding="utf-8"))) >= 30


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_saved_workflow_opens(path):
    nodes = stored_nodes(json.loads(path.read_text(encoding="utf-8")))
    breaks = {f"{node['type']} {node['id']}": what_breaks(node, DEFINITIONS) for node in nodes}
    assert nodes or path.stem == "retrace_upscale_x4"  # which shows a stock node
    assert {node: each for node, each in breaks.items() if each} == {}


@pytest.mark.parametrize("folder", GENERATIONS, ids=lambda folder: folder.name)
def test_every_node_keeps_what_it_declared(folder):
    """Also the nodes and the combo values that no template stores."""
    then = json.loads((folder / "nodes.json").read_text(encoding="utf-8"))
    assert sorted(set(then) - set(DEFINITIONS)) == []
    broken = {node: broken_promises(declared, promises(DEFINITIONS[node])) for node, declared in then.items()}
    assert {node: each for node, each in broken.items() if each} == {}


def renamed(mapping: dict[str, Any], old: str, new: str) -> None:
    """Rename a key and keep the order, as a one-line change of a schema would."""
    kept = {new if name == old else name: value for name, value in mapping.items()}
    mapping.clear()
    mapping.update(kept)


def rename_an_input(nodes):
    renamed(nodes["RetraceEditSample"]["input"]["required"], "cfg", "guidance")


def rename_an_input_of_a_choice(nodes):
    choice = nodes["RetraceAttentionMask"]["input"]["required"]["method"][1]["options"][0]
    renamed(choice["inputs"]["required"], "words", "word")


def rename_a_combo_value(nodes):
    options = nodes["RetraceDDIMInvert"]["input"]["required"]["spacing"][1]["options"]
    options[options.index("leading")] = "Leading"


def rename_a_choice(nodes):
    nodes["RetraceAttentionMask"]["input"]["required"]["method"][1]["options"][0]["key"] = "word"


def swap_two_outputs_of_a_type(nodes):
    nodes["RetraceEditSample"]["output_name"].reverse()


def swap_two_widgets(nodes):
    required = nodes["RetraceDDIMInvert"]["input"]["required"]
    required["steps"], required["cfg"] = required.pop("steps"), required.pop("cfg")


def change_a_type(nodes):
    nodes["RetraceEditSample"]["input"]["required"]["trajectory"] = ("LATENT", {})


def insert_a_widget(nodes):
    declared = nodes["RetraceEditSample"]["input"]
    declared["required"] = {"align": ("BOOLEAN", {}), **declared["required"]}


def remove_a_node(nodes):
    del nodes["RetraceEditSample"]


def narrow_a_range(nodes):
    nodes["RetraceDDIMInvert"]["input"]["required"]["steps"][1]["max"] = 2


IN_ITS_DECLARATION = [
    rename_an_input, rename_an_input_of_a_choice, rename_a_combo_value, rename_a_choice, swap_two_outputs_of_a_type,
    swap_two_widgets, change_a_type,
]  # fmt: skip
ALTERATIONS = [*IN_ITS_DECLARATION, insert_a_widget, remove_a_node, narrow_a_range]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_an_altered_node_is_noticed(alter):
    nodes = deepcopy(DEFINITIONS)
    alter(nodes)
    stored = [node for path in WORKFLOWS for node in stored_nodes(json.loads(path.read_text(encoding="utf-8")))]
    assert [each for node in stored for each in what_breaks(node, nodes)]


@pytest.mark.parametrize("alter", IN_ITS_DECLARATION, ids=lambda alter: alter.__name__)
def test_a_declaration_that_was_altered_is_noticed(alter):
    nodes = deepcopy(DEFINITIONS)
    alter(nodes)
    assert [each for node in nodes for each in broken_promises(promises(DEFINITIONS[node]), promises(nodes[node]))]


def test_a_new_last_widget_and_a_new_last_output_break_nothing():
    nodes = deepcopy(DEFINITIONS)
    node = nodes["RetraceEditSample"]
    node["input"]["optional"]["newest"] = ("COMBO", {"options": ["auto"]})
    node["output"], node["output_name"] = [*node["output"], "MASK"], [*node["output_name"], "where"]
    assert broken_promises(promises(DEFINITIONS["RetraceEditSample"]), promises(node)) == []
    stored = [each for path in WORKFLOWS for each in stored_nodes(json.loads(path.read_text(encoding="utf-8")))]
    assert [each for one in stored for each in what_breaks(one, nodes)] == []
