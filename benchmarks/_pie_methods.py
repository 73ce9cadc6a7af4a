"""The methods of PIE-Bench's table as shipped templates with the published settings, and the table itself.

Published: Ju et al. 2023, "PnP Inversion", Tables 1 and 2; 50 steps, w 7.5, SD1.4 (plug-and-play: SD1.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from batch.workflow import Graph, Setting, as_prompt, read_workflow, title_of

ONE_WORD, NEW_POSE, NEW_STYLE, EASY = (
    "2 Change one word, keep the rest", "4 New pose or expression", "5 New style", "1 Edit a photo",
)  # fmt: skip
EDIT = "Edit under attention control"
COLUMNS = ("structure", "psnr", "lpips", "mse", "ssim", "clip_whole", "clip_edited")

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Method:
    """A template, settings as of --set, further nodes, and inputs of the edit that are linked to them.

    An input ["Title", output] of a further node is linked to the template's node of that title.
    """

    template: str
    settings: tuple[str, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    published: tuple[float, ...] = ()
    """In the order of COLUMNS: structure, LPIPS x 1e3, MSE x 1e4, SSIM x 1e2; empty where the paper has no row."""

    def graph(self, node_definitions: Mapping[str, Any]) -> Graph:
        """In API format, before the settings."""
        graph = as_prompt(read_workflow(self.template), node_definitions)
        ids = {title_of(graph, node): node for node in graph}
        for name, node in self.nodes.items():
            inputs = {
                key: [ids[value[0]], value[1]] if isinstance(value, list) else value
                for key, value in node["inputs"].items()
            }
            graph[name] = {**deepcopy(dict(node)), "inputs": inputs, "_meta": {"title": name}}
        for key, name in self.links.items():
            graph[ids[EDIT]]["inputs"][key] = [name, 0]
        return graph

    def all_settings(self, more: list[str]) -> list[Setting]:
        """`more` comes last and wins."""
        given = [Setting.parse(text) for text in (*self.settings, *more)]
        return list({(each.title, each.input): each for each in given}.values())


PROMPTS = ("Source prompt.value={before}", "Target prompt.value={after}", "Invert.fixed_point_iterations=0")
P2P = (
    *PROMPTS,
    "Prompt to Prompt.mode=refine",
    "Prompt to Prompt.cross_replace=0.4",
    "Prompt to Prompt.self_replace=0.6",
    "Prompt to Prompt.blend_words={blend_words}",
    "Prompt to Prompt.reweight={reweight}",
)
# The published script inverts and reconstructs under the empty prompt.
MASACTRL = ("Source prompt.value=", *PROMPTS[1:])
PLUG_AND_PLAY = (*PROMPTS, "Negative.text=ugly, blurry, black, low res, unrealistic")
HELD, FREE = (f"{EDIT}.hold_source=true",), (f"{EDIT}.hold_source=false",)

# The edit's own negative prompt, and the empty prompt for the source's features.
PNP_NODES = {
    "Negative": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["Checkpoint", 1], "text": ""}},
    "Empty": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["Checkpoint", 1], "text": ""}},
}
PNP_LINKS = {"negative": "Negative", "source": "Empty"}
OPTIMIZED = {
    "Optimize": {
        "class_type": "RetraceNullTextOptimize",
        "inputs": {
            "model": ["Checkpoint", 0],
            "trajectory": ["Invert", 0],
            "positive": ["Source conditioning", 0],
            "negative": ["Negative prompt", 0],
            "cfg": 7.5,
            "inner_steps": 10,
            "learning_rate": 0.01,
            "epsilon": 1e-5,
            "method": "reference",
            "residual": False,
        },
    }
}
SOURCE_AS_NEGATIVE = {
    "Negative": {
        "class_type": "RetraceNegativePrompt",
        "inputs": {"source": ["Source conditioning", 0], "empty": ["Negative prompt", 0], "interpolation": 0.0},
    }
}

METHODS = {
    "ddim+p2p": Method(ONE_WORD, (*P2P, *FREE), published=(69.43, 17.87, 208.80, 219.88, 71.14, 25.01, 22.44)),
    "null-text+p2p": Method(
        ONE_WORD, (*P2P, *FREE), OPTIMIZED, {"trajectory": "Optimize"},
        (13.44, 27.03, 60.67, 35.86, 84.11, 24.75, 21.86),
    ),
    "negative-prompt+p2p": Method(
        ONE_WORD, (*P2P, *FREE), SOURCE_AS_NEGATIVE, {"negative": "Negative"},
        (16.17, 26.21, 69.01, 39.73, 83.40, 24.61, 21.87),
    ),
    "direct+p2p": Method(ONE_WORD, (*P2P, *HELD), published=(11.65, 27.22, 54.55, 32.86, 84.76, 25.02, 22.10)),
    "ddim+masactrl": Method(NEW_POSE, (*MASACTRL, *FREE), published=(28.38, 22.17, 106.62, 86.97, 79.67, 23.96, 21.16)),
    "direct+masactrl": Method(
        NEW_POSE, (*MASACTRL, *HELD), published=(24.70, 22.64, 87.94, 81.09, 81.33, 24.38, 21.35)
    ),
    "ddim+pnp": Method(
        NEW_STYLE, (*PLUG_AND_PLAY, *FREE), PNP_NODES, PNP_LINKS, (28.22, 22.28, 113.46, 83.64, 79.05, 25.41, 22.55)
    ),
    "direct+pnp": Method(
        NEW_STYLE, (*PLUG_AND_PLAY, *HELD), PNP_NODES, PNP_LINKS, (24.29, 22.46, 106.06, 80.45, 79.68, 25.41, 22.62)
    ),
    "edit-image": Method(EASY, ("Edit Image.before={before}", "Edit Image.after={after}")),
}  # fmt: skip


def method_of(name: str) -> Method:
    """One of METHODS, or NAME=FILE for any workflow in API format with places for the columns before and after.

    Raises KeyError for an unknown name.
    """
    _, equals, file = name.partition("=")
    return Method(file) if equals else METHODS[name]
