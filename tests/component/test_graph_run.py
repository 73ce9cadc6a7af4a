"""The benchmarks run a graph as ComfyUI does: what an output needs, once, and the graph that a node stands for."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from node_call import with_defaults
from retrace_pack.nodes import NODES, edit_image

import nodes as core

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
PHOTO = torch.rand(1, 72, 96, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def graph_run(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import _graph_run

    yield _graph_run.GraphRun
    del sys.modules["_graph_run"]


def test_only_what_an_output_needs_runs_and_nothing_twice(graph_run):
    encoded = []
    vae = SimpleNamespace(encode=lambda pixels: encoded.append(pixels) or torch.zeros(1, 4, 9, 12))
    graph = {
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["photo", 0], "vae": ["vae", 0]}},
        "one": {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["encode", 0], "amount": 2}},
        "other": {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["encode", 0], "amount": 3}},
        "again": {"class_type": "VAEEncode", "inputs": {"vae": ["vae", 0], "pixels": ["photo", 0]}},
        "like_one": {"class_type": "RepeatLatentBatch", "inputs": {"samples": ["again", 0], "amount": 2}},
        "unknown": {"class_type": "Nobody", "inputs": {"samples": ["encode", 0]}},
    }
    run = graph_run(graph, {"photo": PHOTO, "vae": vae})
    assert len(run.value(["one", 0])["samples"]) == 2 and len(run.value(["other", 0])["samples"]) == 3
    assert run.value(["like_one", 0]) is run.value(["one", 0])
    assert len(encoded) == 1
    with pytest.raises(KeyError):
        run.value(["unknown", 0])


def test_a_node_that_stands_for_a_graph_gives_what_the_graph_gives(graph_run, models, monkeypatch):
    """Edit Image without strength: the photo through the autoencoder and back into the photo."""
    backbone = SimpleNamespace(prompt_tokens=lambda clip, text: None)
    monkeypatch.setattr(edit_image, "backbone_of", lambda model: backbone)
    monkeypatch.setattr(edit_image, "report", lambda node, text: {})
    pixels = {}
    vae = SimpleNamespace(
        encode=lambda given: pixels.update(seen=given) or torch.zeros(1, 4, 9, 12),
        decode=lambda samples: pixels["seen"] * 0.9,
    )
    names = ("model", "clip", "vae", "image")
    inputs = {name: [name, 0] for name in names} | {"before": "a red car", "after": "a blue car", "strength": 0.0}
    values = dict(zip(names, (models("sd15")[0], object(), vae, PHOTO), strict=True))
    run = graph_run({"easy": {"class_type": "RetraceEditImage", "inputs": inputs}}, values)
    assert torch.equal(run.value(["easy", 0]), PHOTO)
    assert any(name.startswith("easy.") for name in run.graph)
    assert torch.equal(run.value(run.input_of("RetracePixelComposite", "edited")), pixels["seen"] * 0.9)


@pytest.mark.parametrize("kind", ["color", "shape", "style"])
def test_the_ways_to_edit_are_graphs_of_nodes_that_exist_with_inputs_that_they_have(monkeypatch, kind):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import _edit_ways

    edit = SimpleNamespace(kind=kind, before="a red car", after="a blue car")
    own = {node.define_schema().node_id: node.define_schema() for node in NODES}
    given = {"model", "clip", "vae", "photo", "mask"}
    for way in _edit_ways.ways().values():
        graph, link = way(SimpleNamespace(edit=edit))
        assert link[0] in graph
        for content in graph.values():
            inputs = content["inputs"]
            assert {value[0] for value in inputs.values() if isinstance(value, list)} <= given | graph.keys()
            if content["class_type"] in own:
                with_defaults(own[content["class_type"]].inputs, inputs)
            else:
                declared = core.NODE_CLASS_MAPPINGS[content["class_type"]].INPUT_TYPES()
                assert declared["required"].keys() == inputs.keys()
    for name in ("_edit_ways", "_graph_run", "_still_lifes"):
        del sys.modules[name]
