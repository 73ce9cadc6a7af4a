"""Null-text optimization: P5 and P6 of the parity tests against the published loop, and the guarantees of our own `fast`."""

from dataclasses import dataclass, field, replace

import pytest
import torch
from retrace_pack.inversion.ddim import invert_ddim
from retrace_pack.inversion.null_text import GuidedStep, NullText, NullTextOptions, optimize_null_text
from retrace_pack.samplers.ddim import sample_ddim
from retrace_pack.samplers.path import VarianceExploding
from retrace_pack.samplers.schedule import make_schedule
from torch import Tensor, nn

PATH = VarianceExploding()

SHAPE = (1, 2, 4, 4)
EMBEDDING = (1, 6, 8)
STEPS, CFG, EPSILON = 10, 7.5, 1e-4
OPTIONS = NullTextOptions(cfg=CFG, inner_steps=10, epsilon=EPSILON)


class Network(nn.Module):
    """eps of (variance-preserving x, timestep, embedding), smooth in all three. As in Stable Diffusion, the embedding has more
    numbers than x, so that some embedding gives almost any eps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.picture = nn.Conv2d(SHAPE[1], SHAPE[1], 3, padding=1)
        self.words = nn.Linear(EMBEDDING[1] * EMBEDDING[2], SHAPE[1] * SHAPE[2] * SHAPE[3])

    def forward(self, x: Tensor, timestep: int, embedding: Tensor) -> Tensor:
        x, embedding = (tensor.to(self.words.weight.dtype) for tensor in (x, embedding))
        words = self.words(embedding.flatten(1)).view(x.shape)
        return torch.tanh(self.picture(x) + words) * (0.5 + timestep / 2000)


@dataclass
class Toy:
    """A network with its source prompt, the trajectory of one image under it, and a record of its evaluations."""

    network: Network
    table: Tensor
    text: Tensor
    null: Tensor
    sigmas: Tensor
    states: Tensor = field(init=False)
    text_states: list[Tensor] = field(default_factory=list)
    leaves: list[Tensor] = field(default_factory=list)
    gradients: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3), dtype=self.sigmas.dtype)
        x = PATH.from_unit(x, self.sigmas[0])
        self.states = invert_ddim(lambda x, sigma: self.denoise(x, sigma, self.text), x, self.sigmas, path=PATH).states

    def denoise(self, x: Tensor, sigma: Tensor, embedding: Tensor) -> Tensor:
        timestep = int((self.table - sigma).abs().argmin())
        return x - sigma * self.network(PATH.to_unit(x, sigma), timestep, embedding).to(x)

    def text_denoise(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.text_states.append(x)
        return self.denoise(x, sigma, self.text)

    def null_denoise(self, x: Tensor, sigma: Tensor, embedding: Tensor) -> Tensor:
        # Adam moves its leaf in place.
        self.leaves.append(embedding.detach().clone())
        denoised = self.denoise(x, sigma, embedding)
        if denoised.requires_grad:
            denoised.register_hook(self.gradients.append)
        return denoised

    def optimize(self, method: str, options: NullTextOptions = OPTIONS, **changes) -> NullText:
        arguments = {"states": self.states, "start": self.null, "options": options, "method": method, **changes}
        return optimize_null_text(self.text_denoise, self.null_denoise, sigmas=self.sigmas, **arguments, path=PATH)

    def steps_back(self, embeddings: Tensor, residuals: Tensor | None = None):
        """(GuidedStep, null x0) of every step from the noise end under the given embeddings, from where the last one ended."""
        x = self.states[-1]
        for level in reversed(range(len(self.sigmas) - 1)):
            sigma = self.sigmas[level + 1]
            text = self.denoise(x, sigma, self.text)
            step = GuidedStep(x, self.states[level], sigma, self.sigmas[level], text, CFG, PATH)
            null = self.denoise(x, sigma, embeddings[level : level + 1])
            yield step, null
            x = step.arrive(null) if residuals is None else step.arrive(null) + residuals[level]


@pytest.fixture
def make_toy(sigma_table):
    def make(steps: int = STEPS, dtype: torch.dtype = torch.float64, seed: int = 0) -> Toy:
        generator = torch.Generator().manual_seed(seed + 1)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Network().to(dtype).requires_grad_(False)
        text = torch.randn(EMBEDDING, generator=generator)
        # Near enough for guidance at 7.5 to stay sane, far enough to leave the trajectory.
        null = text + 0.05 * torch.randn(EMBEDDING, generator=generator)
        sigmas = make_schedule(sigma_table, steps, terminal="first").ascending_sigmas
        return Toy(network, sigma_table, text, null, sigmas.to(torch.promote_types(dtype, torch.float32)))

    return make


@pytest.fixture
def toy(make_toy) -> Toy:
    return make_toy()


def final_latent(toy: Toy, found: NullText) -> Tensor:
    return toy.states[0] - found.residuals[0]


def final_error(toy: Toy, found: NullText) -> float:
    return float(found.residuals[0].square().mean())


@dataclass(frozen=True)
class Published:
    """The null-text code of Mokady et al. 2023 in its own notation: alpha bar, timesteps, x of about unit variance."""

    toy: Toy
    abars: Tensor
    steps: int = STEPS

    @property
    def timesteps(self) -> list[int]:
        return [index * (1000 // self.steps) + 1 for index in reversed(range(self.steps))]

    def levels(self, timestep: int) -> tuple[Tensor, Tensor]:
        before = timestep - 1000 // self.steps
        return self.abars[timestep], self.abars[before] if before >= 0 else self.abars[0]

    def prev_step(self, eps: Tensor, timestep: int, x: Tensor) -> Tensor:
        abar, abar_prev = self.levels(timestep)
        clean = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        return abar_prev.sqrt() * clean + (1 - abar_prev).sqrt() * eps

    def optimize(self, pivots: list[Tensor], inner_steps: int, epsilon: float):
        """Algorithm 1 with its code's constants: embeddings (from the noise end), losses of each step, final latent."""
        network, text = self.toy.network, self.toy.text
        null, x = self.toy.null, pivots[-1]
        found, losses = [], []
        for i, timestep in enumerate(self.timesteps):
            null = null.clone().detach().requires_grad_(True)
            adam = torch.optim.Adam([null], lr=1e-2 * (1 - i / 100))
            eps_text = network(x, timestep, text)
            losses.append([])
            for _ in range(inner_steps):
                eps_null = network(x, timestep, null)
                guided = eps_null + CFG * (eps_text - eps_null)
                loss = nn.functional.mse_loss(self.prev_step(guided, timestep, x), pivots[self.steps - 1 - i])
                adam.zero_grad()
                loss.backward()
                adam.step()
                losses[-1].append(loss.item())
                if loss.item() < epsilon + i * 2e-5:
                    break
            null = null.detach()
            found.append(null)
            eps_null = network(x, timestep, null)
            x = self.prev_step(eps_null + CFG * (eps_text - eps_null), timestep, x)
        return found, losses, x


@pytest.fixture
def published(toy) -> Published:
    return Published(toy, 1 / (1 + toy.table**2))


def pivots_of(toy: Toy) -> list[Tensor]:
    return [PATH.to_unit(state, sigma) for state, sigma in zip(toy.states, toy.sigmas, strict=True)]


@pytest.mark.parametrize("epsilon", [EPSILON, 0.0])
def test_p5_reference_equals_the_published_loop(toy, published, epsilon):
    embeddings, losses, x = published.optimize(pivots_of(toy), OPTIONS.inner_steps, epsilon)
    found = toy.optimize("reference", replace(OPTIONS, epsilon=epsilon))
    counts = [len(inner) for inner in losses]
    if epsilon:
        assert min(counts) < OPTIONS.inner_steps == max(counts), "the case must reach the threshold in some steps only"
    assert [len(inner) for inner in found.losses] == counts
    for ours, theirs in zip(found.losses, losses, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    torch.testing.assert_close(found.embeddings.flip(0), torch.cat(embeddings), rtol=1e-5, atol=1e-5)
    ours = PATH.to_unit(final_latent(toy, found), toy.sigmas[0])
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)
    # The prompt once, 3 for every inner step, and the closing pair that the published code asks for.
    assert found.unet_work == sum(1 + 3 * count + 2 for count in counts)


def test_p5_each_step_begins_with_the_embedding_of_the_step_before(toy):
    found = toy.optimize("reference", replace(OPTIONS, inner_steps=1, epsilon=0.0))
    begins = toy.leaves[::2]
    assert torch.equal(begins[0], toy.null)
    for begin, before in zip(begins[1:], found.embeddings.flip(0), strict=False):
        assert torch.equal(begin[0], before)


@pytest.mark.parametrize("method", ["reference", "fast"])
def test_p5_no_inner_steps_are_plain_guidance(toy, method):
    found = toy.optimize(method, replace(OPTIONS, inner_steps=0))

    def guided(x, sigma):
        text, null = toy.denoise(x, sigma, toy.text), toy.denoise(x, sigma, toy.null)
        return null + CFG * (text - null)

    expected = sample_ddim(guided, toy.states[-1], toy.sigmas.flip(0))
    torch.testing.assert_close(final_latent(toy, found), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(found.embeddings, toy.null.expand_as(found.embeddings))
    assert not toy.gradients


def test_p6_the_loss_is_that_of_the_guided_eps_times_a_known_factor(toy, published):
    """mse(prev_step(eps), z*) = k_t^2 mse(eps, eps*), and its gradient is the graph's through the published step."""
    pivots, text, factors = pivots_of(toy), toy.text, []
    for i, timestep in enumerate(published.timesteps):
        x, target = pivots[STEPS - i] + 0.1, pivots[STEPS - 1 - i]
        sigma, sigma_next = toy.sigmas[STEPS - i], toy.sigmas[STEPS - 1 - i]
        leaf = toy.null.double().requires_grad_(True)
        eps_text, eps_null = toy.network(x, timestep, text), toy.network(x, timestep, leaf)
        eps = eps_null + CFG * (eps_text - eps_null)
        published_loss = nn.functional.mse_loss(published.prev_step(eps, timestep, x), target)
        (published_gradient,) = torch.autograd.grad(published_loss, leaf, retain_graph=True)

        abar, abar_prev = published.levels(timestep)
        shrink = (abar_prev / abar).sqrt()
        k = (1 - abar_prev).sqrt() - shrink * (1 - abar).sqrt()
        affine_loss = k**2 * nn.functional.mse_loss(eps, (target - shrink * x) / k)

        x_ve = PATH.from_unit(x, sigma)
        step = GuidedStep(
            x_ve, PATH.from_unit(target, sigma_next), sigma, sigma_next, toy.denoise(x_ve, sigma, text), CFG, PATH
        )
        loss = step.loss(toy.denoise(x_ve, sigma, leaf))
        (gradient,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(loss, published_loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(loss, affine_loss, rtol=1e-9, atol=0)
        torch.testing.assert_close(gradient, published_gradient, rtol=1e-7, atol=1e-12)
        factors.append(float(k.abs()))
    assert max(factors) > 1.5 * min(factors)


@pytest.mark.parametrize("seed", [0, 1])
def test_fast_is_no_worse_than_the_reference_for_half_of_its_work(make_toy, seed):
    toy = make_toy(seed=seed)
    reference, fast = toy.optimize("reference"), toy.optimize("fast")
    assert final_error(toy, fast) <= final_error(toy, reference)
    assert fast.unet_work <= reference.unet_work / 2


def test_fast_returns_the_embedding_that_did_best(toy):
    """Steps ten times as long as they should be: the best is often not the last."""
    found = toy.optimize("fast", replace(OPTIONS, inner_steps=4, epsilon=0.0, learning_rate=1e-1))
    for (step, null), losses in zip(toy.steps_back(found.embeddings), found.losses, strict=True):
        assert float(step.loss(null)) == pytest.approx(min(losses), rel=1e-6)
    assert any(losses[-1] > min(losses) for losses in found.losses)


def test_fast_stops_before_a_backward_pass_and_counts_what_it_asked(toy):
    found = toy.optimize("fast")
    for index, losses in enumerate(found.losses):
        assert all(loss >= OPTIONS.threshold(index) for loss in losses[:-1])
    forwards, backwards = sum(map(len, found.losses)), sum(len(losses) - 1 for losses in found.losses)
    assert (len(toy.leaves), len(toy.gradients)) == (forwards, backwards)
    assert found.unet_work == STEPS + forwards + 2 * backwards
    assert 0 < backwards < STEPS * OPTIONS.inner_steps


def test_fast_does_nothing_where_nothing_is_to_be_done(toy):
    """The source prompt itself as the null embedding: guidance adds nothing and the walk misses by the inversion alone."""
    found = toy.optimize("fast", replace(OPTIONS, epsilon=1e3), start=toy.text)
    assert not toy.gradients and found.unet_work == 2 * STEPS
    assert torch.equal(found.embeddings, toy.text.expand_as(found.embeddings))


def test_the_callback_hears_every_loss_with_the_state_it_belongs_to(toy):
    for method in ("fast", "reference"):
        toy.text_states.clear()
        heard = []
        found = toy.optimize(method, callback=lambda *said, heard=heard: heard.append(said))
        expected = [(i, k, loss) for i, losses in enumerate(found.losses) for k, loss in enumerate(losses)]
        assert [said[:3] for said in heard] == expected
        assert all(torch.equal(x, toy.text_states[step]) for step, _, _, x, _ in heard)


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_residuals_hold_the_walk_on_the_trajectory(toy, method):
    """Every step starts on the trajectory itself, and where it leads plus its residual is the next state of it."""
    found = toy.optimize(method, replace(OPTIONS, inner_steps=2, keep_residual=True))
    assert torch.equal(torch.stack(toy.text_states), toy.states[1:].flip(0))
    walked = list(toy.steps_back(found.embeddings, found.residuals))
    for level, (step, null) in zip(reversed(range(STEPS)), walked, strict=True):
        torch.testing.assert_close(step.arrive(null) + found.residuals[level], toy.states[level], rtol=1e-9, atol=1e-9)
    assert float(found.residuals.abs().max()) > 1e-3


def test_without_residuals_each_step_starts_where_the_last_one_led(toy):
    found = toy.optimize("fast", replace(OPTIONS, inner_steps=1))
    for (step, _), x in zip(toy.steps_back(found.embeddings), toy.text_states, strict=True):
        torch.testing.assert_close(step.x, x, rtol=1e-9, atol=1e-9)


def test_more_than_a_hundred_steps_are_for_fast_alone(make_toy):
    toy = make_toy(steps=101)
    options = replace(OPTIONS, inner_steps=1)
    assert toy.optimize("fast", options).embeddings.shape == (101, *EMBEDDING[1:])
    asked = len(toy.leaves)
    with pytest.raises(ValueError, match=r"has 101 steps, but the learning rate .* choose the method fast, or invert"):
        toy.optimize("reference", options)
    assert len(toy.leaves) == asked
    assert len(make_toy(steps=100).optimize("reference", options).losses) == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cfg": 1.0}, r"cfg is 1, at which the null embedding is never used; choose .* such as 7\.5"),
        ({"inner_steps": -1}, "inner_steps is -1; give 0 or more"),
    ],
)
@pytest.mark.parametrize("method", ["fast", "reference"])
def test_options_that_make_no_sense_are_refused(toy, method, change, message):
    with pytest.raises(ValueError, match=message):
        toy.optimize(method, replace(OPTIONS, **change))
    assert not toy.text_states


def test_a_batch_is_refused(toy):
    with pytest.raises(ValueError, match="the trajectory holds 2 images, .* invert them one at a time"):
        toy.optimize("fast", states=toy.states.expand(-1, 2, -1, -1, -1))


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_leaf_loss_and_embeddings_stay_float32_under_a_bf16_network(make_toy, method):
    toy = make_toy(dtype=torch.bfloat16)
    assert toy.network.words.weight.dtype == torch.bfloat16
    found = toy.optimize(method, replace(OPTIONS, inner_steps=2, epsilon=0.0), start=toy.null.bfloat16())
    for tensors in (toy.leaves, toy.gradients, [found.embeddings, found.residuals]):
        assert tensors and {tensor.dtype for tensor in tensors} == {torch.float32}
    # A step of this size is lost where the embedding itself is kept in bfloat16.
    assert not torch.equal(found.embeddings, found.embeddings.bfloat16().float())


def test_the_inputs_are_not_changed(toy):
    before = [tensor.clone() for tensor in (toy.states, toy.null, toy.text, toy.sigmas)]
    for method in ("fast", "reference"):
        toy.optimize(method)
    assert all(torch.equal(*pair) for pair in zip(before, (toy.states, toy.null, toy.text, toy.sigmas), strict=True))


@pytest.mark.parametrize("method", ["fast", "reference"])
def test_a_network_that_overflows_is_an_error(toy, method):
    """NaN must not pass for an embedding, nor a state that was never stepped for a reconstruction."""
    toy.network.picture.weight.mul_(torch.nan)
    with pytest.raises(ValueError, match="state after step 0 .* is NaN or infinite; the model overflowed"):
        toy.optimize(method)


def test_fast_keeps_its_best_when_one_of_its_tries_overflows(toy):
    """One bad gradient ends its own step, and later steps still descend."""
    denoise = toy.denoise

    def overflowing(x, sigma, embedding):
        denoised = denoise(x, sigma, embedding)
        if len(toy.gradients) == 1 and denoised.requires_grad:
            denoised.register_hook(lambda gradient: gradient * torch.inf)
        return denoised

    toy.denoise = overflowing
    found = toy.optimize("fast")
    assert bool(torch.isfinite(found.embeddings).all() and torch.isfinite(found.residuals).all())
    assert found.losses[0][-1] != found.losses[0][-1], "the overflow must have happened"
    assert all(min(losses) < losses[0] for losses in found.losses[1:] if len(losses) > 1)
    assert sum(len(losses) > 1 for losses in found.losses[1:]) > STEPS // 2
