"""MasaCtrl and Plug and Play inside ComfyUI against their published formulas, transcribed for diffusers' UNet.

The same weights (tiny_sd15, trained), 10 steps, cfg 7.5, float32. Under each prompt, the rows are [source, target].
"""

import miniatures
import pytest
import torch
import torch.nn.functional as F
from comfy.sample import sample_custom
from comfy.samplers import calculate_sigmas, sampler_object
from node_call import run_node
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay

SOURCE, TARGET = "a large red ball on a blue wall", "a large green cone on a blue wall"
STEPS, CFG, FACTOR = 10, 7.5, 0.18215
ROWS = ((0, 1), (2, 3))
"""(source, target) under the negative and under the positive prompt."""


class Attention:
    """Explicit attention for diffusers' UNet; `edited` returns the output of the self-attentions that an edit replaces."""

    def __init__(self, edited):
        self.edited = edited

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            layer(given).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, given in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        out = None if encoder_hidden_states is not None else self.edited(attn, q, k, v)
        return attn.to_out[0]((attention(q, k, v) if out is None else out).transpose(1, 2).flatten(2))


def attention(q, k, v, keys_open=None):
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return (scores if keys_open is None else scores.masked_fill(~keys_open, -torch.inf)).softmax(-1) @ v


class MasaCtrl:
    """Cao et al. 2023, eq. 4: from step S and layer L on, the target's queries use the source's keys and values. Eq. 6 and 7:
    inside the target's mask they use those inside the source's mask, outside they use those outside.
    """

    def __init__(self, start_step, start_layer, source_mask=None, target_mask=None):
        self.start_step, self.start_layer = start_step, start_layer
        self.masks = source_mask, target_mask
        self.layer = 0

    def install(self, unet):
        unet.set_attn_processor(Attention(self.edited))

    def begin_step(self, step):
        self.step, self.layer = step, 0

    def edited(self, attn, q, k, v):
        self.layer += 1
        if self.step < self.start_step or self.layer <= self.start_layer:
            return None
        out = attention(q, k, v)
        for source, target in ROWS:
            if self.masks[0] is None:
                out[target] = attention(q[target], k[source], v[source])
                continue
            side = round(q.shape[2] ** 0.5)
            in_source, in_target = (F.interpolate(mask[None], (side, side)).flatten() > 0.5 for mask in self.masks)
            foreground = attention(q[target], k[source], v[source], in_source)
            background = attention(q[target], k[source], v[source], ~in_source)
            out[target] = torch.where(in_target[:, None], foreground, background)
        return out


class PlugAndPlay:
    """Tumanyan et al. 2022, section 4: in the first steps, the output of the decoder's second residual block at the coarse level
    is the source's, and so are the queries and keys of the self-attentions from there on.
    """

    def __init__(self, attention_fraction, feature_fraction):
        self.attention_steps = int(attention_fraction * STEPS)
        self.feature_steps = int(feature_fraction * STEPS)

    def install(self, unet):
        coarse, fine, _ = unet.up_blocks
        coarse.resnets[1].conv2.register_forward_hook(self.features)
        self.layers = [
            block.attn1 for each in (coarse.attentions[1], *fine.attentions) for block in each.transformer_blocks
        ]
        unet.set_attn_processor(Attention(self.edited))

    def begin_step(self, step):
        self.step = step

    def features(self, module, inputs, out):
        if self.step < self.feature_steps:
            for source, target in ROWS:
                out[target] = out[source]
        return out

    def edited(self, attn, q, k, v):
        if self.step >= self.attention_steps or not any(attn is layer for layer in self.layers):
            return None
        q, k = q.clone(), k.clone()
        for source, target in ROWS:
            q[target], k[target] = q[source], k[source]
        return attention(q, k, v)


@pytest.fixture(scope="module")
def noise():
    return torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="module")
def reference(noise):
    """An edit of diffusers' UNet -> the final latents of both rows, by DDIM with guidance."""
    from diffusers import DDIMScheduler

    def run(edit):
        model, words = miniatures.reference()
        edit.install(model.unet)
        context = model.text_encoder(words.rows(["", "", SOURCE, TARGET], pad_with_end=True)).last_hidden_state
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
            steps_offset=1,
        )  # fmt: skip
        scheduler.set_timesteps(STEPS)
        x = noise
        for step, t in enumerate(scheduler.timesteps.tolist()):
            edit.begin_step(step)
            empty, full = model.unet(torch.cat([x, x]), t, context).sample.chunk(2)
            x = scheduler.step(empty + CFG * (full - empty), t, x).prev_sample
        return x

    return run


@pytest.fixture(scope="module")
def ours(noise):
    """A node's MODEL of the trained checkpoint -> the result of ComfyUI's Euler on the same noise, in the UNet's scale."""
    model, clip, _ = miniatures.load()
    source, target, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (SOURCE, TARGET, ""))
    positive = [[torch.cat([source[0][0], target[0][0]]), {}]]
    sigmas = calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", STEPS)
    start = noise * (1 + sigmas[0] ** 2).sqrt() / FACTOR

    def run(node, inputs):
        patched = run_node(node, model=model, **inputs).result[0]
        euler = sampler_object("euler")
        return FACTOR * sample_custom(
            patched, torch.zeros_like(start), CFG, euler, sigmas, positive, empty, start, disable_pbar=True
        )

    return run


def rectangle(top, left, bottom, right):
    """A mask of a picture of 256 pixels, in cells of the coarsest map."""
    mask = torch.zeros(1, 256, 256)
    mask[:, 32 * top : 32 * bottom, 32 * left : 32 * right] = 1
    return mask


def masactrl(start_step, start_layer, **masks):
    return RetraceMasaCtrl, {"start_step": start_step, "start_layer": start_layer, **masks}


def plug_and_play(attention, features):
    return RetracePlugAndPlay, {"attention_fraction": attention, "feature_fraction": features}


OBJECT, MOVED = rectangle(1, 2, 5, 7), rectangle(3, 0, 8, 4)
# The UNet has 7 layers of self-attention: 0.5 of them leaves the first 3 alone.
CASES = {
    "masactrl": (masactrl(2, 0.5), lambda: MasaCtrl(2, 3)),
    "masactrl, everywhere": (masactrl(0, 0.0), lambda: MasaCtrl(0, 0)),
    "masactrl with a mask": (masactrl(2, 0.0, source_mask=OBJECT), lambda: MasaCtrl(2, 0, OBJECT, OBJECT)),
    "masactrl with two masks": (
        masactrl(2, 0.0, source_mask=OBJECT, target_mask=MOVED),
        lambda: MasaCtrl(2, 0, OBJECT, MOVED),
    ),
    "plug and play": (plug_and_play(0.5, 0.8), lambda: PlugAndPlay(0.5, 0.8)),
    "plug and play, attention": (plug_and_play(0.7, 0.0), lambda: PlugAndPlay(0.7, 0.0)),
    "plug and play, features": (plug_and_play(0.0, 0.3), lambda: PlugAndPlay(0.0, 0.3)),
}


@pytest.fixture(scope="module")
def unedited(reference):
    return reference(MasaCtrl(STEPS, 0))


@pytest.mark.parametrize("name", CASES)
def test_an_edit_equals_its_published_formula(reference, ours, unedited, relative, name):
    node_and_inputs, make_edit = CASES[name]
    expected = reference(make_edit())
    assert relative(ours(*node_and_inputs), expected) < 2e-4
    assert relative(expected[1], unedited[1]) > 0.05
