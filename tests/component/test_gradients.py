"""host/gradients: autograd through a model that was loaded under inference mode, and the state of the model afterward."""

from contextlib import contextmanager, nullcontext
from functools import cache

import comfy.model_base
import comfy.model_management as management
import comfy.model_patcher
import pytest
import torch
from random_models import initialise, random_conditioning, random_model
from retrace_pack.host.gradients import differentiable, normal_tensors, with_differentiable_attention

LAYOUTS = ["sd15", "sd2_v", "sdxl"]
CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")
LORA_KEY = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"


class Question:
    """One pass of a model with everything fixed except the context, and a scalar computed from its output."""

    def __init__(self, model):
        generator = torch.Generator().manual_seed(1)
        self.model = model
        self.context = random_conditioning(model)[0][0]
        self.x = 3 * torch.randn(1, 4, 8, 8, generator=generator)
        self.weights = torch.randn(1, 4, 8, 8, generator=generator, dtype=torch.float64)
        self.direction = torch.randn(self.context.shape, generator=generator)
        adm = model.model.model_config.unet_config.get("adm_in_channels") or 0
        self.extra = {"y": torch.randn(1, adm, generator=generator)} if adm else {}

    def denoised(self, context, **transformer_options):
        extra = {name: tensor.clone() for name, tensor in self.extra.items()}
        sigma = torch.full((1,), 2.0)
        return self.model.model.apply_model(
            self.x.clone(), sigma, c_crossattn=context, transformer_options=transformer_options, **extra
        )

    def value(self, context, **transformer_options):
        return (self.denoised(context, **transformer_options).double() * self.weights.clone()).sum()

    def gradient(self, device=CPU, checkpointed=False, **transformer_options):
        with differentiable([self.model.model], device, checkpointed):
            leaf = self.context.clone().requires_grad_(True)
            return torch.autograd.grad(self.value(leaf, **transformer_options), leaf)[0]

    def slope(self, size=0.02):
        """The derivative along `direction`, by a central difference."""
        ahead, behind = (self.value(self.context + sign * size * self.direction) for sign in (1, -1))
        return float(ahead - behind) / (2 * size)

    def along(self, gradient):
        return float((gradient * self.direction).sum())


@pytest.fixture(scope="module")
def models():
    """Layout -> (MODEL,) for this file only: patches that other tests leave in theirs would change the derivatives."""
    return cache(lambda layout: (random_model(layout),))


@pytest.fixture
def question(models):
    return Question(models("sd15")[0])


@contextmanager
def saved_for_backward():
    """The tensors that autograd saves in this block."""
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def state(model):
    """Everything that the context manager touches: the very objects, and a copy of their values."""
    objects, values = {}, {}
    for path, module in model.model.named_modules():
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                objects[path, name], values[path, name] = tensor, tensor.clone()
        for name in ("forward", "weight_function", "bias_function"):
            objects[path, name] = module.__dict__.get(name)
    return objects, values


def assert_untouched(model, before):
    objects, values = state(model)
    assert objects.keys() == before[0].keys()
    assert all(objects[key] is before[0][key] for key in objects)
    assert all(torch.equal(values[key], before[1][key]) for key in values)


def cast_model(weights_dtype, compute_dtype):
    """The sd15 miniature with ComfyUI's classes for weights that are cast when used (--fp16-unet on a CPU)."""
    from random_models import random_model

    template = random_model("sd15")
    shape = template.model.model_config
    config = type(shape)({**shape.unet_config})
    config.set_inference_dtype(weights_dtype, compute_dtype)
    base = comfy.model_base.BaseModel(config, model_type=config.model_type({}), device=CPU)
    initialise(base.diffusion_model)
    base.diffusion_model.load_state_dict(template.model.diffusion_model.state_dict())
    return comfy.model_patcher.ModelPatcher(base, CPU, CPU)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_is_the_slope_of_the_answer(models, layout):
    question = Question(models(layout)[0])
    assert all(parameter.is_inference() for parameter in question.model.model.parameters())
    plain, recomputed = question.gradient(), question.gradient(checkpointed=True)
    assert question.along(plain) == pytest.approx(question.slope(), rel=1e-2)
    torch.testing.assert_close(recomputed, plain, rtol=1e-6, atol=1e-6 * float(plain.abs().max()))
    assert plain.shape == question.context.shape and float(plain.abs().max()) > 0


def test_checkpointing_keeps_less_for_the_backward_pass(question):
    """A weight is kept where it is, so that only what is not a weight counts."""
    weights = {parameter.data_ptr() for parameter in question.model.model.parameters()}
    sizes = []
    for checkpointed in (False, True):
        with differentiable([question.model.model], CPU, checkpointed), saved_for_backward() as kept:
            question.value(question.context.clone().requires_grad_(True))
        own = {tensor.data_ptr(): tensor.nbytes for tensor in kept if tensor.data_ptr() not in weights}
        sizes.append(sum(own.values()))
    assert 0 < sizes[1] < 0.6 * sizes[0]


def test_weights_that_are_resident_are_not_copied(question):
    weights = {parameter.data_ptr() for parameter in question.model.model.parameters()}
    with differentiable([question.model.model], CPU), saved_for_backward() as kept:
        question.value(question.context.clone().requires_grad_(True))
    assert any(tensor.data_ptr() in weights for tensor in kept)


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_answer_is_the_ordinary_one(models, layout, checkpointed):
    question = Question(models(layout)[0])
    ordinary = question.denoised(question.context)
    with differentiable([question.model.model], CPU, checkpointed):
        answer = question.denoised(question.context.clone())
        assert not answer.requires_grad
        assert torch.equal(question.denoised(question.context.clone().requires_grad_(True)), ordinary)
    assert torch.equal(answer, ordinary)


@pytest.mark.parametrize("device", [CPU, ELSEWHERE])
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("ending", ["nothing", "an exception", "an interrupt"])
def test_the_model_is_the_same_afterwards(question, device, checkpointed, ending):
    """Bit-identical, the very same Parameter objects, no forward and no weight function left behind."""
    before, answer = state(question.model), question.denoised(question.context)
    expected = {
        "nothing": nullcontext(),
        "an exception": pytest.raises(ValueError, match="in the middle"),
        "an interrupt": pytest.raises(management.InterruptProcessingException),
    }[ending]
    with expected, differentiable([question.model.model], device, checkpointed):
        value = question.value(question.context.clone().requires_grad_(True))
        parameters = list(question.model.model.parameters())
        assert not any(parameter.is_inference() or parameter.requires_grad for parameter in parameters)
        if ending == "an exception":
            raise ValueError("in the middle")
        if ending == "an interrupt":
            management.interrupt_current_processing(True)
            question.value(question.context.clone())
        value.backward()
    assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
    assert_untouched(question.model, before)
    assert torch.equal(question.denoised(question.context), answer)


def test_a_streamed_weight_is_copied(question):
    """Where weights pass through a buffer that the next layer overwrites, autograd must keep none of them."""
    weights = {parameter.data_ptr() for parameter in question.model.model.parameters()}
    plain = question.gradient()
    with differentiable([question.model.model], ELSEWHERE), saved_for_backward() as kept:
        leaf = question.context.clone().requires_grad_(True)
        value = question.value(leaf)
        assert not any(tensor.data_ptr() in weights for tensor in kept)
        (streamed,) = torch.autograd.grad(value, leaf)
    assert torch.equal(streamed, plain)


def test_the_weight_functions_of_others_are_kept_before_ours(question, monkeypatch):
    """A low-VRAM LoRA lives there: it takes part and is put back as it was."""
    module = question.model.model.diffusion_model.middle_block[1].transformer_blocks[0].attn2.to_v
    neighbor = question.model.model.diffusion_model.middle_block[1].transformer_blocks[0].attn2.to_k
    functions = [lambda weight: 3 * weight]
    # Another test's LoRA may have given the layer an empty list of its own.
    neighbors_own = neighbor.__dict__.get("weight_function")
    plain = question.gradient()
    monkeypatch.setattr(module, "weight_function", functions, raising=False)
    before = state(question.model)
    with differentiable([question.model.model], ELSEWHERE):
        assert module.weight_function == [*functions, torch.clone] and module.weight_function is not functions
        assert neighbor.weight_function == [torch.clone] and type(neighbor).weight_function == []
    gradient = question.gradient(ELSEWHERE)
    assert_untouched(question.model, before)
    assert module.weight_function is functions and len(functions) == 1
    assert neighbor.__dict__.get("weight_function") is neighbors_own
    assert question.along(gradient) == pytest.approx(question.slope(), rel=1e-2)
    assert not torch.allclose(gradient, plain, rtol=1e-2)


def test_the_forward_of_others_is_what_is_recomputed_and_stays(question, monkeypatch):
    """Another pack may have put a forward of its own on a block of the model that all share."""
    block = question.model.model.diffusion_model.middle_block[1]
    forward, plain, calls = block.forward, question.gradient(), []

    def doubled(*args):
        calls.append(args)
        return 2 * forward(*args)

    monkeypatch.setitem(block.__dict__, "forward", doubled)
    before = state(question.model)
    gradient = question.gradient(checkpointed=True)
    # Once on the way forward and once more on the way back.
    assert len(calls) == 2
    assert_untouched(question.model, before)
    assert question.along(gradient) == pytest.approx(question.slope(), rel=1e-2)
    assert not torch.allclose(gradient, plain, rtol=1e-2)


def test_a_lora_takes_part_and_leaves_with_its_model(models):
    model = models("sd15")[0]
    weight = model.model_state_dict()[LORA_KEY]
    before = weight.clone()
    plain = Question(model).gradient()
    patched = model.clone()
    patched.add_patches({LORA_KEY: (torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)),)})
    management.load_models_gpu([patched])
    question = Question(patched)
    loaded = state(patched)
    for device in (CPU, ELSEWHERE):
        gradient = question.gradient(device, checkpointed=True)
        assert question.along(gradient) == pytest.approx(question.slope(), rel=1e-2)
        assert not torch.allclose(gradient, plain, rtol=1e-2)
    assert_untouched(patched, loaded)
    management.load_models_gpu([model])
    assert torch.equal(model.model_state_dict()[LORA_KEY], before)
    torch.testing.assert_close(Question(model).gradient(), plain)


def test_weights_that_are_cast_at_use(models):
    """float16 weights under a float32 network, as ComfyUI runs them where float16 does not compute."""
    model = cast_model(torch.float16, torch.float32)
    question = Question(model)
    assert {parameter.dtype for parameter in model.model.diffusion_model.parameters()} == {torch.float16}
    assert question.denoised(question.context).dtype == torch.float32
    before = state(model)
    for device in (CPU, ELSEWHERE):
        for checkpointed in (False, True):
            gradient = question.gradient(device, checkpointed)
            assert gradient.dtype == torch.float32
            assert question.along(gradient) == pytest.approx(question.slope(), rel=1e-2)
    assert_untouched(model, before)
    exact = Question(models("sd15")[0]).gradient()
    assert float((gradient - exact).norm() / exact.norm()) < 1e-2


def test_our_attention_is_used_whatever_another_pack_chose(question):
    asked = []

    def without_backward(_chosen, *args, **kwargs):
        raise AssertionError("sage attention has no backward pass")

    options = {"other": 1, "transformer_options": {"optimized_attention_override": without_backward, "kept": asked}}
    before = {**options["transformer_options"]}
    ours = with_differentiable_attention(options)
    assert ours["other"] == 1 and ours["transformer_options"]["kept"] is asked
    assert options["transformer_options"] == before
    with pytest.raises(AssertionError, match="sage attention"):
        question.denoised(question.context, **options["transformer_options"])
    gradient = question.gradient(**ours["transformer_options"])
    scale = float(gradient.abs().max())
    torch.testing.assert_close(gradient, question.gradient(), rtol=1e-4, atol=1e-4 * scale)


def test_conditioning_becomes_tensors_that_autograd_may_save():
    from comfy.conds import CONDCrossAttn

    tensor, marker = torch.ones(2), object()
    cond = CONDCrossAttn(torch.ones(1, 2, 3))
    entries = [{"model_conds": {"c_crossattn": cond}, "area": (1, 2), "control": marker, "mask": tensor}]
    (copied,) = normal_tensors(entries)
    assert copied["area"] == (1, 2) and copied["control"] is marker
    for old, new in ((cond.cond, copied["model_conds"]["c_crossattn"].cond), (tensor, copied["mask"])):
        # Under inference mode a copy would be one more inference tensor; where gradients are taken it is not.
        assert torch.equal(old, new) and old is not new
    with torch.inference_mode(False):
        (copied,) = normal_tensors(entries)
        assert not copied["mask"].is_inference() and tensor.is_inference()
        assert not copied["model_conds"]["c_crossattn"].cond.is_inference() and cond.cond.is_inference()
        assert normal_tensors(copied["mask"]) is copied["mask"]
