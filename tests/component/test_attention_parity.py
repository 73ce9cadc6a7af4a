"""Prompt-to-prompt inside ComfyUI against the reference algorithm on diffusers' UNet with attention processors.

The same weights (tiny_sd15, trained), 20 steps, cfg 7.5, float32. The reference is our own rewrite: explicit probabilities in
every layer, edited in the conditional half, with alphas and mappers made by hand for the prompts.
"""

import miniatures
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from node_call import run_node
from retrace_pack.host.after_step import apply_changes, in_turn, model_changes
from retrace_pack.host.ddim import ddim_sampler
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt

FACTOR = 0.18215
STEPS, CFG, TOKENS = 20, 7.5, 77
SOURCE = "a large red ball on a blue wall"
BLEND_SIDE = 8


@pytest.fixture(scope="module")
def tiny():
    return miniatures.load()


class Control:
    """The edit of rows [source, target] in the conditional half, and the maps collected from it."""

    def __init__(self, mapper, alphas, equalizer, cross, own, blend=None):
        self.mapper, self.alphas, self.equalizer = mapper, alphas, equalizer
        self.cross_steps = torch.as_tensor(cross)
        self.own_steps, self.blend = own, blend
        self.step, self.maps = 0, []

    def __call__(self, attention, is_cross):
        """attention [2 halves * 2 rows * heads, pixels, keys], edited in place."""
        source, target = attention[len(attention) // 2 :].chunk(2)
        if is_cross:
            active = (self.step < self.cross_steps).float()
            edited = (source @ self.mapper * self.alphas + target * (1 - self.alphas)) * self.equalizer
            target.copy_(edited * active + (1 - active) * target)
            if attention.shape[1] == BLEND_SIDE**2:
                self.maps.append(torch.stack([source, target]))
        elif self.step < self.own_steps:
            target.copy_(source)

    def after_step(self, x):
        self.step += 1
        if self.blend is None or self.step <= int(0.2 * STEPS):
            return x
        words, subtracted = self.blend
        mask = self.mask(words, 0.3, True)
        if subtracted:
            mask = mask * ~self.mask(subtracted, 0.3, False)
        return x[:1] + mask.float() * (x - x[:1])

    def mask(self, words, threshold, pool):
        stacked = torch.cat([each.unflatten(2, (BLEND_SIDE, BLEND_SIDE)) for each in self.maps], 1)
        maps = torch.stack([rows[..., chosen].sum(-1).mean(0) for rows, chosen in zip(stacked, words, strict=True)])[
            :, None
        ]
        if pool:
            maps = F.max_pool2d(maps, 3, 1, 1)
        maps = F.interpolate(maps, size=(32, 32))
        mask = maps / maps.amax((2, 3), keepdim=True) > threshold
        return mask[:1] | mask


class Processor:
    """Explicit attention for diffusers' UNet, as in the paper's figure."""

    def __init__(self, control):
        self.control = control

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **_):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        q, k, v = (attn.head_to_batch_dim(each) for each in (q, k, v))
        probabilities = (q @ k.transpose(1, 2) * attn.scale).softmax(-1)
        self.control(probabilities, encoder_hidden_states is not None)
        return attn.to_out[0](attn.batch_to_head_dim(probabilities @ v))


def reference(control, prompts, noise):
    """DDIM with guidance of both rows under the control; the final latent in the UNet's scale."""
    model, words = miniatures.reference()
    model.unet.set_attn_processor(Processor(control))
    context = model.text_encoder(words.rows(["", "", *prompts], pad_with_end=True)).last_hidden_state
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True,
        steps_offset=1,
    )  # fmt: skip
    scheduler.set_timesteps(STEPS)
    x = noise.repeat(2, 1, 1, 1)
    for t in scheduler.timesteps.tolist():
        empty, full = model.unet(torch.cat([x, x]), t, context).sample.chunk(2)
        x = scheduler.step(empty + CFG * (full - empty), t, x).prev_sample
        x = control.after_step(x)
    return x


def ours(tiny, noise, inputs):
    """The node's patch under our DDIM, which calls the functions after each step."""
    import comfy.sample

    model, clip, _ = tiny
    inputs = {
        "mode": "auto", "cross_replace": 0.8, "self_replace": 0.4, "reweight": "", "blend_words": "",
        "blend_threshold": 0.3, "blend_start": 0.2, "subtract_words": "", "subtract_threshold": 0.3,
        "cross_replace_words": "", "self_replace_layers": "full", "blend_layers": "quarter", "source_prompt": SOURCE, **inputs,
    }  # fmt: skip
    patched, positive = run_node(RetracePromptToPrompt, model=model, clip=clip, **inputs).result
    changes = model_changes(patched.model_options["transformer_options"]).changes
    apply_changes(patched)
    sampler = ddim_sampler(0.0)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", STEPS)

    sampler.extra_options = {"after_step": in_turn(changes, sigmas)} if changes else {}
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    state = (noise * (1 + sigmas[0] ** 2).sqrt() / FACTOR).repeat(2, 1, 1, 1)
    result = comfy.sample.sample_custom(
        patched, torch.zeros_like(state), CFG, sampler, sigmas, positive, negative, state, disable_pbar=True
    )
    return result * FACTOR


def rows(steps, **others):
    """The number of steps in which each token is edited."""
    count = torch.full((TOKENS,), steps)
    for row, value in others.items():
        count[int(row[1:])] = value
    return count


def equalizer(**factors):
    values = torch.ones(TOKENS)
    for row, value in factors.items():
        values[int(row[1:])] = value
    return values


def refined():
    """SOURCE against "a large red ball and a small white cone on a blue wall": five new tokens after the fourth."""
    mapper, alphas = torch.zeros(TOKENS, TOKENS), torch.ones(TOKENS)
    for target in range(TOKENS):
        mapper[target if target <= 4 or target > 14 else target - 5, target] = 1
    alphas[5:10] = 0
    return mapper, alphas


ONES, SAME = torch.ones(TOKENS), torch.eye(TOKENS)
CASES = {
    "replace": (
        "a large yellow ball on a blue wall", {},
        lambda: Control(SAME, ONES, ONES, rows(16), 8),
    ),
    "replace, another start for one word": (
        "a large red cone on a blue wall", {"cross_replace_words": "cone:0.3", "self_replace": 0.6},
        lambda: Control(SAME, ONES, ONES, rows(16, r4=6), 12),
    ),
    "reweight": (
        SOURCE, {"reweight": "red:2.5, blue wall:0.5", "self_replace": 0.0},
        lambda: Control(SAME, ONES, equalizer(r3=2.5, r7=0.5, r8=0.5), rows(16), 0),
    ),
    "refine": (
        "a large red ball and a small white cone on a blue wall", {"cross_replace": 0.5},
        lambda: Control(*refined(), ONES, rows(10), 8),
    ),
    "local blend": (
        "a large yellow cone on a blue wall", {"blend_words": "ball, cone, yellow"},
        lambda: Control(SAME, ONES, ONES, rows(16), 8, (([4], [3, 4]), None)),
    ),
    "local blend with subtracted words": (
        "a large yellow ball on a blue wall", {"blend_words": "ball, wall", "subtract_words": "blue"},
        lambda: Control(SAME, ONES, ONES, rows(16), 8, (([4, 8], [4, 8]), ([7], [7]))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_edit_equals_the_reference(tiny, relative, name):
    target, inputs, make_control = CASES[name]
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(4))
    expected = reference(make_control(), [SOURCE, target], noise)
    result = ours(tiny, noise, {"target_prompts": target, **inputs})
    assert relative(result, expected) < 1e-3
    assert float((expected[0] - expected[1]).abs().max() / expected.abs().max()) > 0.05
