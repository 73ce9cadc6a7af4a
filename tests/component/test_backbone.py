"""Attention edits on a minimal backbone whose image tokens attend to text and image in one call, as in a DiT."""

from __future__ import annotations

import pytest
import torch
from retrace_pack.attention.alignment import Alignment
from retrace_pack.attention.controllers import CrossEdit
from retrace_pack.attention.prompt_edit import PromptEdit
from retrace_pack.host import prompt_to_prompt, self_attention
from retrace_pack.host.backbone import AttentionCall, Layer, nearest_resolution
from retrace_pack.host.sampling_run import SamplingRun

ROWS, HEADS, DIM, TEXT, SIZE = 3, 2, 4, 5, (2, 3)
PIXELS = SIZE[0] * SIZE[1]
OPTIONS = {
    "sigmas": torch.ones(ROWS), "sample_sigmas": torch.tensor([1.0, 0.5, 0.0]), "cond_or_uncond": [0],
    "uuids": ["positive"], "original_shape": [ROWS, 4, *SIZE],
}  # fmt: skip


class JointBackbone:
    """Records the edits that a node installs."""

    layers = structure_layers = (Layer(0, 1),)

    def install(self, model, node, running, edits):
        run = SamplingRun(node=node, rows=ROWS, steps=2, size=SIZE, has_areas=False, positive=frozenset(["positive"]))
        running.begin(run, [])
        self.edits = {edit.attends_to: edit.edit for edit in edits}
        return model

    def replace_features(self, model, edit):
        self.features = edit


@pytest.fixture
def joint(monkeypatch):
    backbone = JointBackbone()
    for module in (prompt_to_prompt, self_attention):
        monkeypatch.setattr(module, "backbone_of", lambda model: backbone)
    return backbone


def heads(tokens):
    return tokens.unflatten(-1, (HEADS, DIM)).transpose(1, 2)


def probabilities(q, k, mask=None):
    scores = heads(q) @ heads(k).transpose(2, 3) * DIM**-0.5
    return (scores if mask is None else scores + mask[:, None]).softmax(-1)


def attend(q, k, v, *, mask=None):
    return (probabilities(q, k, mask) @ heads(v)).transpose(1, 2).flatten(2)


@pytest.fixture
def call():
    """Text tokens come first."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(ROWS, count, HEADS * DIM, generator=generator) for count in (PIXELS, *[TEXT + PIXELS] * 2))
    return AttentionCall(
        layer=Layer(0, 1), q=q, k=k, v=v, image=slice(TEXT, None), text=slice(TEXT), heads=HEADS, map_size=SIZE,
        attend=attend, options=OPTIONS,
    )  # fmt: skip


def with_image_of_the_source(tokens):
    return torch.cat([tokens[:, :TEXT], tokens[:1, TEXT:].expand(ROWS, -1, -1)], 1)


def test_of_two_equally_near_resolutions_the_larger_maps_are_taken():
    layers = [Layer(index, resolution) for index, resolution in enumerate((4, 3, 1, 0))]
    assert [nearest_resolution(layers, wanted) for wanted in (0, 1, 2, 3, 5)] == [0, 1, 1, 3, 4]


def test_text_probabilities_are_part_of_the_joint_softmax(call):
    whole = probabilities(call.q, call.k)
    torch.testing.assert_close(call.text_probabilities(1), whole[1, ..., :TEXT])
    shorter = torch.cat([whole[1, ..., :3], whole[1, ..., TEXT:]], -1)
    torch.testing.assert_close(call.text_probabilities(1, 3), (shorter / shorter.sum(-1, keepdim=True))[..., :3])


def test_prompt_to_prompt_replaces_the_attention_to_text_and_leaves_that_to_the_image(joint, call):
    mapper = torch.rand(TEXT, TEXT, generator=torch.Generator().manual_seed(1))
    target = CrossEdit(Alignment(mapper, torch.ones(TEXT)), torch.ones(TEXT), torch.ones(TEXT).double())
    edit = PromptEdit((TEXT,) * ROWS, (target,) * (ROWS - 1), 1.0, None)
    prompt_to_prompt.patch_prompt_to_prompt(None, edit, 0, 2, "Prompt to Prompt")
    expected = probabilities(call.q, call.k)
    expected[1:, ..., :TEXT] = expected[0, ..., :TEXT] @ mapper
    torch.testing.assert_close(joint.edits["text"](call), (expected @ heads(call.v)).transpose(1, 2).flatten(2))
    of_the_source = call.q[:1].expand(ROWS, -1, -1)
    torch.testing.assert_close(
        joint.edits["image"](call), attend(of_the_source, with_image_of_the_source(call.k), call.v)
    )


def test_masactrl_shares_keys_and_values_of_image_tokens_alone(joint, call):
    self_attention.patch_masactrl(None, 0, 0.0, None, "MasaCtrl")
    keys, values = with_image_of_the_source(call.k), with_image_of_the_source(call.v)
    torch.testing.assert_close(joint.edits["image"](call), attend(call.q, keys, values))


def test_a_mask_of_masactrl_blocks_no_text(joint, call):
    inside = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]).view(1, 1, *SIZE)
    guide = self_attention.MaskGuide(inside, inside)
    self_attention.patch_masactrl(None, 0, 0.0, guide, "MasaCtrl")
    pixels = inside.flatten() > 0
    opened = torch.cat([torch.ones(PIXELS, TEXT, dtype=torch.bool), pixels[:, None] == pixels], 1)
    mask = torch.where(opened, 0.0, -torch.inf)[None].expand(ROWS, -1, -1)
    expected = attend(call.q, with_image_of_the_source(call.k), with_image_of_the_source(call.v), mask=mask)
    result = joint.edits["image"](call)
    torch.testing.assert_close(result[1:], expected[1:])
    torch.testing.assert_close(result[0], attend(call.q, call.k, call.v)[0])


def test_plug_and_play_shares_queries_keys_and_features(joint, call):
    self_attention.patch_plug_and_play(None, 1.0, 1.0, "Plug and Play")
    queries = call.q[:1].expand(ROWS, -1, -1)
    torch.testing.assert_close(joint.edits["image"](call), attend(queries, with_image_of_the_source(call.k), call.v))
    out, passed = torch.randn(2, ROWS, 4, *SIZE, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(joint.features(out, passed, OPTIONS), passed + (out - passed)[:1])
