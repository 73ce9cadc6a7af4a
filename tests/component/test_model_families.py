"""docs/models.md says which node works with which flow model; here every cell of its table is tried."""

import re
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import comfy.samplers
import pytest
import torch
from node_call import run_node
from random_flows import random_flow, random_image, random_prompt
from retrace_pack.editing.recipes import RECIPES
from retrace_pack.host.embedded_guidance import takes_guidance
from retrace_pack.host.model_family import model_family
from retrace_pack.host.naming import named
from retrace_pack.nodes import NODES
from retrace_pack.nodes.attention_mask import RetraceAttentionMask
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.ddim_sampler import RetraceSamplerDDIM
from retrace_pack.nodes.depth_to_image import RetraceDepthToImage
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from retrace_pack.nodes.inpainting import RetraceLatentBlend, RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.negative_prompt import RetraceNegativePrompt
from retrace_pack.nodes.null_text import RetraceNullTextConditioning, RetraceNullTextOptimize
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt
from retrace_pack.nodes.proximal_guidance import RetraceProximalGuidance
from retrace_pack.nodes.schedules import RetraceDDIMScheduler, RetraceSchedulePlot
from retrace_pack.nodes.trajectory import (
    RetraceLoadTrajectory,
    RetraceSaveTrajectory,
    RetraceTrajectoryLatent,
    RetraceTrajectoryPreview,
)
from retrace_pack.nodes.trajectory_noise import RetraceTrajectoryNoise

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "models.md"
COLUMNS = {
    "Flux, guided": "flux",
    "Flux, true CFG": "schnell",
    "Flux.2": "flux2",
    "Chroma": "chroma",
    "SD3": "sd3",
    "Qwen-Image": "qwen",
    "Lumina 2": "lumina2",
    "Z-Image": "z_image",
    "Wan, one frame": "wan",
    "Anima": "anima",
}


def cells():
    """(node, family, what the page says)."""
    rows = [
        [cell.strip() for cell in line.strip("|\n ").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    header = rows[0]
    for titles, *says in rows[2:]:
        for title in re.split(", ", titles):
            for column, said in zip(header[1:], says, strict=True):
                if column in COLUMNS:
                    yield title, COLUMNS[column], said


class Attempt:
    """What a node needs, for one family."""

    def __init__(self, family: str) -> None:
        self.model, self.image = random_flow(family), random_image(family)
        self.positive, self.negative = random_prompt(family, 1), random_prompt(family, 2)
        self.given = {"model": self.model, "positive": self.positive, "negative": self.negative}
        self.latent = {"latent": {"samples": self.image}}
        self.mask = torch.zeros(1, 8, 8)
        self.mask[:, 2:5, 2:5] = 1
        self.made = {}

    def run(self, title: str):
        return getattr(self, "_" + title.lower().replace(" ", "_"))()

    def inverted(self, node=RetraceDDIMInvert, **changes):
        key = node, *changes.items()
        if key not in self.made:
            self.made[key] = run_node(node, **self.given, **self.latent, steps=3, **changes).result[0]
        return self.made[key]

    def custom(self, noise, latent, sigmas, sampler):
        from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(self.positive, self.negative)
        return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]

    def _ddim_scheduler(self):
        return run_node(RetraceDDIMScheduler, model=self.model, steps=3).result[0]

    def _schedule_plot(self):
        return run_node(RetraceSchedulePlot, model=self.model, steps=3).result[0]

    def _ddim_sample(self):
        return run_node(RetraceDDIMSample, **self.given, **self.latent, steps=3, add_noise=True).result[0]["samples"]

    def _sampler_ddim(self):
        sampler = run_node(RetraceSamplerDDIM, limit="none", eta=0.5).result[0]
        noise, latent, sigmas = run_node(RetraceTrajectoryNoise, trajectory=self.inverted()).result
        return self.custom(noise, latent, sigmas, sampler)

    def _ddim_invert(self):
        return self.inverted().latents

    def _flow_invert(self):
        return self.inverted(RetraceFlowInvert, solver="uni").latents

    def _exact_invert(self):
        return self.inverted(RetraceExactInvert).pairs

    def _edit_friendly_invert(self):
        return self.inverted(RetraceEditFriendlyInvert).noise_maps

    def _edit_sample(self):
        return run_node(RetraceEditSample, **self.given, trajectory=self.inverted()).result[0]["samples"]

    def _trajectory_latent(self):
        return run_node(RetraceTrajectoryLatent, trajectory=self.inverted(), start_step=1).result[0]["samples"]

    def _trajectory_noise(self):
        noise, latent, _ = run_node(RetraceTrajectoryNoise, trajectory=self.inverted()).result
        return noise.generate_noise(latent)

    def _trajectory_preview(self):
        vae = SimpleNamespace(decode=lambda samples: samples[:, :3].movedim(1, -1))
        return run_node(RetraceTrajectoryPreview, trajectory=self.inverted(), vae=vae).result[0]

    def _save_trajectory(self):
        return run_node(RetraceSaveTrajectory, trajectory=self.inverted()).result[0].latents

    def _load_trajectory(self):
        self._save_trajectory()
        (name,) = RetraceLoadTrajectory.define_schema().inputs[0].options
        return RetraceLoadTrajectory.execute(name).result[0].latents

    def _latent_blend(self):
        euler = comfy.samplers.sampler_object("euler")
        sampler = run_node(RetraceLatentBlend, sampler=euler, mask=self.mask, kept_from="trajectory",
                           trajectory=self.inverted()).result[0]  # fmt: skip
        return self.custom(*run_node(RetraceTrajectoryNoise, trajectory=self.inverted()).result, sampler)

    def _latent_blend_sample(self):
        return run_node(RetraceLatentBlendSample, **self.given, **self.latent, steps=3, mask=self.mask).result[0][
            "samples"
        ]

    def _negative_prompt(self):
        negative = run_node(RetraceNegativePrompt, source=self.positive, empty=self.negative).result[0]
        return self.guided(negative, self.model)

    def _proximal_guidance(self):
        return self.guided(self.negative, run_node(RetraceProximalGuidance, model=self.model).result[0])

    def guided(self, negative, model):
        given = {**self.given, "model": model, "negative": negative, "cfg": 3.0}
        return run_node(RetraceEditSample, **given, trajectory=self.inverted()).result[0]["samples"]

    def _attention_mask(self):
        inputs = {"model": self.model, "clip": object(), "trajectory": self.inverted(), "prompt": "a cat"}
        return run_node(RetraceAttentionMask, **inputs)

    def _depth_to_image(self):
        depth = torch.zeros(1, 64, 64, 3)
        return run_node(RetraceDepthToImage, **self.given, depth=depth, **self.latent)

    def _null_text_conditioning(self):
        trajectory = self.inverted()
        with suppress(ValueError):  # where Null Text Optimize refuses the model, there is nothing to be given
            trajectory = self.optimized()
        return run_node(RetraceNullTextConditioning, trajectory=trajectory).result[0][0][0]

    def _prompt_to_prompt(self):
        prompts = {"source_prompt": "a cat", "target_prompts": "a dog"}
        return run_node(RetracePromptToPrompt, model=self.model, clip=object(), **prompts)

    def _edit_image(self):
        """The models that its graph is made of are tried in the other rows; here, that there is one for the family."""
        with named("Edit Image"):
            rows = RECIPES[model_family(self.model)]
        takes = takes_guidance(self.model)
        assert all(recipe.embedded == takes and not recipe.attention for recipe in rows.values())
        return self.inverted(RetraceFlowInvert, solver=rows["unsure"].inversion).latents

    def _masactrl(self):
        return run_node(RetraceMasaCtrl, model=self.model)

    def _plug_and_play(self):
        return run_node(RetracePlugAndPlay, model=self.model)

    def _null_text_optimize(self):
        return self.optimized().null_text.embeddings

    def optimized(self):
        if "optimized" not in self.made:
            inputs = {**self.given, "trajectory": self.inverted(), "inner_steps": 1}
            self.made["optimized"] = run_node(RetraceNullTextOptimize, **inputs).result[0]
        return self.made["optimized"]


@pytest.fixture(scope="module")
def attempts():
    made = {}

    def of(family: str) -> Attempt:
        if family not in made:
            made[family] = Attempt(family)
        return made[family]

    return of


def test_the_page_has_a_column_for_each_family_and_the_nodes_are_named_as_they_are():
    found = list(cells())
    assert {family for _, family, _ in found} == set(COLUMNS.values())
    assert all(hasattr(Attempt, "_" + title.lower().replace(" ", "_")) for title, _, _ in found)
    assert {said for _, _, said in found} <= {"yes", "no"}


def name_of(schema):
    """Without the pack, and without what the node is for, which stands after a colon."""
    return schema.display_name.removesuffix(" (Retrace)").partition(":")[0]


def test_the_page_has_a_row_for_every_node_that_depends_on_the_model():
    """The others take pictures, masks and numbers alone."""
    kinds = {"MODEL", "CONDITIONING", "LATENT", "SAMPLER", "RETRACE_TRAJECTORY"}
    schemas = [node.define_schema() for node in NODES]
    depends = {
        name_of(schema)
        for schema in schemas
        if kinds & {each.get_io_type() for each in (*schema.inputs, *schema.outputs)}
    }
    assert depends == {title for title, _, _ in cells()}


@pytest.mark.parametrize(("title", "family", "said"), cells())
def test_a_cell_says_what_happens(attempts, folders, title, family, said):
    if said == "yes":
        result = attempts(family).run(title)
        assert result.numel() > 0 and bool(torch.isfinite(result).all())
    else:
        with pytest.raises(ValueError, match=f"^{title}: "):
            attempts(family).run(title)
