"""Null-text optimisation through ComfyUI: against the published loop, in stock samplers, and what becomes of the model."""

from pathlib import Path

import comfy.cldm.cldm
import comfy.controlnet
import comfy.model_management as management
import comfy.ops
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler
from random_models import initialise, random_conditioning
from retrace_pack.host import gradients
from retrace_pack.host import null_text as host
from retrace_pack.host.guided import Guidance
from retrace_pack.host.null_text import null_text_conditioning, optimize
from retrace_pack.inversion.null_text import NullTextOptions
from retrace_pack.inversion.trajectory_file import load_trajectory, save_trajectory
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.null_text import RetraceNullTextConditioning, RetraceNullTextOptimize
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

import nodes

TINY = Path(__file__).resolve().parent.parent / "tiny_sd"
FACTOR, CFG = 0.18215, 7.5
# ddim_uniform is the leading grid where the number of steps divides 1000.
STEPS, RANDOM_STEPS = 10, 5
LORA_KEY = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"


class Scene:
    """A held-out scene in a trained miniature: its prompt and picture, encoded."""

    def __init__(self, name, seed=3):
        import comfy.sd
        import layouts
        import scenes

        layouts.register()
        self.model, clip, self.vae = comfy.sd.load_checkpoint_guess_config(str(TINY / f"{name}.safetensors"))[:3]
        scene = scenes.random_scene(np.random.default_rng(seed), held_out=True)
        picture = torch.from_numpy(scenes.render(scene)[None]).float() / 255
        self.positive, self.empty = (
            clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (scene.caption, "")
        )
        self.samples = self.vae.encode(picture)
        self.round_trip = self.vae.decode(self.samples)

    def psnr(self, samples):
        """Against the round trip through the VAE, in dB."""
        return compare_images(self.vae.decode(samples), self.round_trip).mean_psnr


@pytest.fixture(scope="module")
def scene():
    with torch.inference_mode():
        return Scene("tiny_sd15")


@pytest.fixture(scope="module")
def optimized(scene):
    """What the node gives for the scene: (trajectory, negative, plot of the losses)."""
    with torch.inference_mode():
        return optimize_node(
            scene.model, invert(scene.model, scene.positive, scene.samples), scene.positive, scene.empty
        )


def invert(model, positive, samples, terminal="clean", steps=STEPS):
    return RetraceDDIMInvert.execute(
        model, positive, positive, {"samples": samples}, steps, 1.0, 0, "leading", terminal
    ).result[0]


def optimize_node(model, trajectory, positive, negative, **changes):
    inputs = {
        "cfg": CFG, "inner_steps": 3, "learning_rate": 0.01, "epsilon": 1e-5, "method": "fast", "residual": False,
    }  # fmt: skip
    return RetraceNullTextOptimize.execute(model, trajectory, positive, negative, **{**inputs, **changes}).result


def found(model, trajectory, positive, negative, method="fast", callback=lambda *said: None, **options):
    """The optimised trajectory and the record of the optimisation, which the node draws only."""
    guidance = Guidance(model, positive, negative, CFG)
    return optimize(
        guidance, trajectory, NullTextOptions(**{"cfg": CFG, "inner_steps": 3, **options}), method, callback
    )


def edit_sample(model, trajectory, positive, negative=None, cfg=CFG, start_step=0):
    return RetraceEditSample.execute(
        model, trajectory, positive, cfg, start_step, True, 0.0, 400, 0.7, 1, negative
    ).result[0]["samples"]


def k_sampler(model, trajectory, positive, negative, sampler_name="euler", start_step=0):
    latent = RetraceTrajectoryLatent.execute(trajectory, start_step).result[0]
    return nodes.KSamplerAdvanced().sample(
        model, "disable", 0, trajectory.steps, CFG, sampler_name, "ddim_uniform", positive, negative, latent,
        start_step, 10000, "disable",
    )[0]["samples"]  # fmt: skip


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


def error(samples, expected):
    return float((samples - expected).square().mean())


def small_latent(seed=0):
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def random_task(models, layout="sd15"):
    """(MODEL, positive, negative, trajectory of a small latent) of random weights."""
    model = models(layout)[0]
    positive, negative = random_conditioning(model, 1), random_conditioning(model, 2)
    return model, positive, negative, invert(model, positive, small_latent(), steps=RANDOM_STEPS)


def published(scene, trajectory, inner_steps, epsilon):
    """The loop of Mokady et al. on diffusers' UNet and scheduler: (losses of every step, the image's latent).

    In our own words after the code that they published: the embedding goes on from step to step, every step has a new Adam, the
    stop is asked after the optimiser's step, and one guided batch of two ends it.
    """
    import checkpoint
    from captions import vocabulary

    with torch.inference_mode(False), torch.enable_grad():
        unet = checkpoint.load_for_diffusers(TINY / "tiny_sd15.safetensors", False, vocabulary())[0].unet
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
            set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        scheduler.set_timesteps(trajectory.steps)
        scale = (1 + trajectory.sigmas.clone() ** 2).sqrt().view(-1, 1, 1, 1, 1)
        pivots = trajectory.latents.clone() * FACTOR / scale
        text, null = scene.positive[0][0].clone(), scene.empty[0][0].clone()
        z, losses = pivots[-1], []
        for i, t in enumerate(scheduler.timesteps.tolist()):
            null = null.clone().detach().requires_grad_(True)
            optimizer = torch.optim.Adam([null], lr=1e-2 * (1.0 - i / 100.0))
            with torch.no_grad():
                eps_text = unet(z, t, text).sample
            losses.append([])
            for _ in range(inner_steps):
                eps_null = unet(z, t, null).sample
                eps = eps_null + CFG * (eps_text - eps_null)
                loss = F.mse_loss(scheduler.step(eps, t, z).prev_sample, pivots[len(pivots) - 2 - i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[-1].append(loss.item())
                if loss.item() < epsilon + i * 2e-5:
                    break
            with torch.no_grad():
                eps_null, eps_text = unet(torch.cat([z, z]), t, torch.cat([null, text])).sample.chunk(2)
                z = scheduler.step(eps_null + CFG * (eps_text - eps_null), t, z).prev_sample
    return losses, z / FACTOR


@pytest.fixture(scope="module")
def reference(scene):
    """(The trajectory that ends at the first level as the published code's does, the optimised one, the record of it)."""
    with torch.inference_mode():
        trajectory = invert(scene.model, scene.positive, scene.samples, "first")
        return trajectory, *found(scene.model, trajectory, scene.positive, scene.empty, "reference", inner_steps=10)


def test_p5_reference_equals_the_published_loop(scene, reference):
    """Ten steps for time's sake. Where the loop stops early is held against the published code in the unit tests."""
    trajectory, optimized, ours = reference
    losses, expected = published(scene, trajectory, 10, NullTextOptions().epsilon)
    rebuilt = edit_sample(scene.model, optimized, scene.positive)
    assert [len(step) for step in ours.losses] == [len(step) for step in losses]
    for ours_of_step, of_step in zip(ours.losses, losses, strict=True):
        assert ours_of_step == pytest.approx(of_step, rel=1e-2)
    assert scene.psnr(rebuilt) == pytest.approx(scene.psnr(expected), abs=0.05)


def test_p5_fast_is_as_good_as_the_reference_at_half_of_its_work(scene, reference):
    """With four inner steps; more of them go on to what the reference does not reach at all."""
    trajectory, theirs, record = reference
    optimized, ours = found(scene.model, trajectory, scene.positive, scene.empty, inner_steps=4)
    psnr, expected, unguided = (
        scene.psnr(edit_sample(scene.model, each, scene.positive, negative))
        for each, negative in ((optimized, None), (theirs, None), (trajectory, scene.empty))
    )
    assert ours.unet_work <= record.unet_work / 2
    assert psnr >= expected > unguided + 1


def test_the_node_gives_embeddings_a_conditioning_and_a_plot(scene, optimized):
    trajectory, negative, plot = optimized
    null_text = trajectory.null_text
    assert null_text.embeddings.shape == (STEPS, *scene.empty[0][0].shape[1:]) and null_text.cfg == CFG
    assert null_text.residuals is None
    assert [entry[1]["start_percent"] for entry in negative] == [
        0.0,
        *(entry[1]["end_percent"] for entry in negative[:-1]),
    ]
    # The entries go from the noise to the image, the embeddings from the image.
    assert torch.equal(torch.cat([entry[0] for entry in negative]), null_text.embeddings.flip(0))
    assert plot.ndim == 4 and plot.shape[-1] == 3 and 0 <= float(plot.min()) < float(plot.max()) <= 1
    tensors = [null_text.embeddings, plot, *(entry[0] for entry in negative)]
    assert not any(tensor.requires_grad or tensor.grad_fn is not None for tensor in tensors)


@pytest.mark.parametrize("start_step", [0, 4])
@pytest.mark.parametrize("sampler_name", ["euler", "ddim"])
def test_k_sampler_advanced_reconstructs_as_edit_sample(scene, optimized, sampler_name, start_step):
    trajectory, negative, _ = optimized
    ours = edit_sample(scene.model, trajectory, scene.positive, start_step=start_step)
    stock = k_sampler(scene.model, trajectory, scene.positive, negative, sampler_name, start_step)
    assert relative(stock, ours) < 1e-4
    plain = k_sampler(scene.model, trajectory, scene.positive, scene.empty, sampler_name, start_step)
    assert error(stock, scene.samples) < 0.5 * error(plain, scene.samples)


def test_sampler_custom_advanced_reconstructs_as_edit_sample(scene, optimized):
    from comfy_extras.nodes_custom_sampler import CFGGuider, DisableNoise, KSamplerSelect, SamplerCustomAdvanced

    trajectory, negative, _ = optimized
    latent, sigmas = RetraceTrajectoryLatent.execute(trajectory, 5).result
    (noise,), (sampler,) = DisableNoise.execute().result, KSamplerSelect.execute("euler").result
    (guider,) = CFGGuider.execute(scene.model, scene.positive, negative, CFG).result
    stock = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    assert relative(stock, edit_sample(scene.model, trajectory, scene.positive, start_step=5)) < 1e-4


def test_a_saved_and_loaded_trajectory_gives_the_same_conditioning(scene, optimized, tmp_path):
    trajectory, negative, _ = optimized
    save_trajectory(trajectory, tmp_path / "cat.safetensors")
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    again = RetraceNullTextConditioning.execute(loaded).result[0]
    for (embedding, settings), (other, others) in zip(again, negative, strict=True):
        assert torch.equal(embedding, other)
        for bound in ("start_percent", "end_percent"):
            assert settings[bound] == others[bound]
    assert torch.equal(
        k_sampler(scene.model, loaded, scene.positive, again),
        k_sampler(scene.model, trajectory, scene.positive, negative),
    )
    carried = RetraceNullTextConditioning.execute(loaded, [[scene.empty[0][0], {"strength": 0.5}]]).result[0]
    assert all(entry[1]["strength"] == 0.5 for entry in carried)


def test_a_plain_trajectory_has_no_conditioning_to_give(scene):
    trajectory = invert(scene.model, scene.positive, scene.samples, steps=2)
    with pytest.raises(
        ValueError, match="Null Text Conditioning: the trajectory has no null embeddings; send it through"
    ):
        RetraceNullTextConditioning.execute(trajectory)


def test_a_residual_makes_the_reconstruction_exact(scene):
    trajectory = invert(scene.model, scene.positive, scene.samples)
    optimized = optimize_node(scene.model, trajectory, scene.positive, scene.empty, inner_steps=2, residual=True)[0]
    assert optimized.null_text.residuals.shape == (STEPS, *scene.samples.shape)
    for start_step in (0, 4):
        rebuilt = edit_sample(scene.model, optimized, scene.positive, start_step=start_step)
        assert scene.psnr(rebuilt) >= 60
    # Another negative is another path, for which the residuals were not made.
    other = edit_sample(scene.model, optimized, scene.positive, null_text_conditioning(optimized, None))
    assert scene.psnr(other) < 60


def test_v_prediction(scene):
    scene = Scene("tiny_sd2_v")
    trajectory = invert(scene.model, scene.positive, scene.samples)
    optimized, negative, _ = optimize_node(scene.model, trajectory, scene.positive, scene.empty)
    rebuilt = edit_sample(scene.model, optimized, scene.positive)
    plain = edit_sample(scene.model, trajectory, scene.positive, scene.empty)
    assert scene.psnr(rebuilt) > scene.psnr(plain) + 3
    assert relative(k_sampler(scene.model, optimized, scene.positive, negative), rebuilt) < 1e-4


def test_the_pooled_embedding_of_sdxl_stays_fixed_and_travels(models, tmp_path):
    model, positive, negative, trajectory = random_task(models, "sdxl")
    optimized, conditioning, _ = optimize_node(model, trajectory, positive, negative)
    pooled = negative[0][1]["pooled_output"]
    assert all(torch.equal(entry[1]["pooled_output"], pooled) for entry in conditioning)
    save_trajectory(optimized, tmp_path / "cat.safetensors")
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    rebuilt = edit_sample(model, loaded, positive)
    assert relative(k_sampler(model, optimized, positive, conditioning), rebuilt) < 1e-4
    plain = edit_sample(model, trajectory, positive, negative)
    assert error(rebuilt, small_latent()) < 0.5 * error(plain, small_latent())
    assert not torch.allclose(edit_sample(model, trajectory, positive, [
        [entry[0], {**entry[1], "pooled_output": pooled + 1}] for entry in conditioning
    ]), rebuilt, rtol=1e-2)  # fmt: skip


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_p5_no_inner_steps_are_plain_guidance(models, method):
    model, positive, negative, trajectory = random_task(models)
    optimized, record = found(model, trajectory, positive, negative, method, inner_steps=0)
    assert torch.equal(optimized.null_text.embeddings, negative[0][0].expand(RANDOM_STEPS, -1, -1))
    plain = edit_sample(model, trajectory, positive, negative)
    assert relative(edit_sample(model, optimized, positive), plain) < 1e-5
    assert record.unet_work == RANDOM_STEPS * {"fast": 2, "reference": 3}[method]


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_little_memory_means_checkpoints_and_the_same_embeddings(models, monkeypatch, method):
    model, positive, negative, trajectory = random_task(models)
    whole, _ = found(model, trajectory, positive, negative, method, inner_steps=2)
    calls = []
    checkpoint = gradients.checkpoint
    monkeypatch.setattr(gradients, "checkpoint", lambda *args, **more: calls.append(1) or checkpoint(*args, **more))
    monkeypatch.setattr(host, "KEPT_PER_LATENT_PIXEL", 1e15)
    recomputed, _ = found(model, trajectory, positive, negative, method, inner_steps=2)
    assert calls
    torch.testing.assert_close(recomputed.null_text.embeddings, whole.null_text.embeddings, rtol=1e-4, atol=1e-5)


def random_control(model):
    """A ControlNet of the model's own layout with random weights."""
    config = {**model.model.model_config.unet_config, "hint_channels": 3, "operations": comfy.ops.disable_weight_init}
    network = comfy.cldm.cldm.ControlNet(**{key: value for key, value in config.items() if key != "out_channels"})
    initialise(network)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def test_a_controlnet_takes_part(models):
    """In the inversion, in the gradient and in the conditioning that comes out."""
    model, positive, negative, without = random_task(models)
    control = random_control(model)
    weights = [parameter.clone() for parameter in control.control_model.parameters()]
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    controlled, controlled_negative = apply(positive, negative, control, hint, 1.0, 0.0, 1.0)
    trajectory = invert(model, controlled, small_latent(), steps=RANDOM_STEPS)
    assert not torch.allclose(trajectory.latents[-1], without.latents[-1], rtol=1e-2)
    optimized, record = found(model, trajectory, controlled, controlled_negative)
    assert all(min(losses) < losses[0] for losses in record.losses if len(losses) > 1)
    conditioning = null_text_conditioning(optimized, controlled_negative)
    rebuilt = edit_sample(model, optimized, controlled, conditioning)
    plain = edit_sample(model, trajectory, controlled, controlled_negative)
    assert error(rebuilt, small_latent()) < 0.5 * error(plain, small_latent())
    assert relative(k_sampler(model, optimized, controlled, conditioning), rebuilt) < 1e-4
    other, _ = found(model, trajectory, positive, negative)
    assert not torch.allclose(other.null_text.embeddings, optimized.null_text.embeddings, rtol=1e-2)
    assert all(torch.equal(*pair) for pair in zip(weights, control.control_model.parameters(), strict=True))


def test_checkpoints_around_a_controlnet_change_nothing(models, monkeypatch):
    """ComfyUI adds a ControlNet's output in place, which must not reach what autograd or a checkpoint keeps."""
    model, positive, negative, _ = random_task(models)
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    positive, negative = apply(positive, negative, random_control(model), hint, 1.0, 0.0, 1.0)
    trajectory = invert(model, positive, small_latent(), steps=RANDOM_STEPS)
    embeddings = []
    for kept_per_pixel in (0, 1e15):
        monkeypatch.setattr(host, "KEPT_PER_LATENT_PIXEL", kept_per_pixel)
        optimized, _ = found(model, trajectory, positive, negative, inner_steps=1, epsilon=0.0)
        embeddings.append(optimized.null_text.embeddings)
    torch.testing.assert_close(*embeddings, rtol=1e-4, atol=1e-5)


def test_a_lora_takes_part(models):
    model, positive, negative, _ = random_task(models)
    weight = model.model_state_dict()[LORA_KEY]
    patched = model.clone()
    patched.add_patches({LORA_KEY: (0.5 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)),)})
    trajectory = invert(patched, positive, small_latent(), steps=RANDOM_STEPS)
    optimized, _ = found(patched, trajectory, positive, negative)
    other, _ = found(model, trajectory, positive, negative)
    assert not torch.allclose(optimized.null_text.embeddings, other.null_text.embeddings, rtol=1e-2)
    rebuilt = edit_sample(patched, optimized, positive)
    assert error(rebuilt, small_latent()) < 0.5 * error(
        edit_sample(patched, trajectory, positive, negative), small_latent()
    )
    assert error(rebuilt, small_latent()) < 0.5 * error(edit_sample(model, optimized, positive), small_latent())


def test_an_interrupt_takes_effect_at_once_and_leaves_the_model_as_it_was(models):
    model, positive, negative, trajectory = random_task(models)
    before = [(parameter, parameter.clone()) for parameter in model.model.parameters()]
    expected, _ = found(model, trajectory, positive, negative)
    heard = []

    def interrupt(step, inner, *others):
        heard.append((step, inner))
        if len(heard) == 3:
            management.interrupt_current_processing(True)

    with pytest.raises(management.InterruptProcessingException):
        found(model, trajectory, positive, negative, callback=interrupt)
    assert len(heard) == 3
    for (parameter, value), now in zip(before, model.model.parameters(), strict=True):
        assert now is parameter and torch.equal(now, value)
    again, _ = found(model, trajectory, positive, negative)
    assert torch.equal(again.null_text.embeddings, expected.null_text.embeddings)


def test_an_error_in_the_middle_leaves_the_model_as_it_was(models):
    model, positive, negative, trajectory = random_task(models)
    before = [(parameter, parameter.clone()) for parameter in model.model.parameters()]

    def fail(step, *others):
        if step == 1:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        found(model, trajectory, positive, negative, callback=fail)
    for (parameter, value), now in zip(before, model.model.parameters(), strict=True):
        assert now is parameter and torch.equal(now, value)


def test_the_bar_is_as_long_as_all_inner_steps_and_previews_come(models, monkeypatch):
    import latent_preview

    model, positive, negative, trajectory = random_task(models)
    lengths, seen = [], []

    def prepare(patcher, steps, *args):
        lengths.append(steps)
        return lambda place, x0, x, total: seen.append((place, total, x0.shape))

    monkeypatch.setattr(latent_preview, "prepare_callback", prepare)
    found(model, trajectory, positive, negative, inner_steps=3, epsilon=0.0)
    assert lengths == [RANDOM_STEPS * 3]
    places = [place for place, _, _ in seen]
    assert places == sorted(places) and places[0] == 0 and places[-1] == RANDOM_STEPS * 3 - 1
    assert {(total, shape) for _, total, shape in seen} == {(RANDOM_STEPS * 3, (1, 4, 8, 8))}


def test_more_than_a_hundred_steps_are_for_fast_alone(models):
    model, positive, negative, _ = random_task(models)
    trajectory = invert(model, positive, small_latent(), steps=101)
    with pytest.raises(ValueError, match="Null Text Optimize: the trajectory has 101 steps, .* choose the method fast"):
        optimize_node(model, trajectory, positive, negative, method="reference")
    optimized = optimize_node(model, trajectory, positive, negative, inner_steps=0)[0]
    assert len(optimized.null_text.embeddings) == 101


def test_what_it_cannot_do_is_refused_in_plain_words(models):
    model, positive, negative, trajectory = random_task(models)
    batch = invert(model, positive, torch.cat([small_latent(), small_latent(1)]), steps=2)
    pair = RetraceExactInvert.execute(
        model, positive, positive, {"samples": small_latent()}, "o-belm", 2, 1.0, 0.93, 1.0, "leading", "clean"
    ).result[0]
    other = random_task(models, "sd2_v")
    for arguments, changes, message in (
        ((model, batch, positive, negative), {}, "holds 2 images, .* invert them one at a time"),
        ((model, trajectory, positive, negative), {"cfg": 1.0}, "cfg is 1, at which the null embedding is never asked"),
        ((model, trajectory, positive, negative), {"inner_steps": -1}, "inner_steps is -1; give 0 or more"),
        ((model, pair, positive, negative), {}, "was made by o-belm and continues from its pair"),
        ((model, trajectory, positive, negative * 2), {}, "negative has 2 parts .* give the one prompt of a CLIP Text"),
        (
            (other[0], trajectory, positive, negative),
            {},
            "the trajectory's prediction is 'epsilon', but the model's is",
        ),
    ):
        with pytest.raises(ValueError, match=f"^Null Text Optimize: .*{message}"):
            optimize_node(*arguments, **changes)
