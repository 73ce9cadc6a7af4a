"""Train the judge: `python -m world.judge_training --pictures FOLDER --work FOLDER` beside this folder.

`--pictures` are the renderings of train.py. `--work` keeps those with held-out words, which the models never see and the judge must
know. `--autoencoder FILE` adds round trips of every fourth picture. The same seed, pictures and machine give the same weights.
`--continued` starts from the stored weights, at a lower rate and in another order.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from .judge import ATTRIBUTES, CELLS, GROUND, SIDE, WEIGHTS, Reader, as_input, split
from .judge_round_trip import round_trip_through
from .judge_set import JudgeSet, rendered_set, training_set

SEED = 1
COUNT, HELD_OUT_COUNT = 4000, 2000
HELD_OUT_SEED = 5
RESTORED_EVERY = 4
ROUNDS = 18
BATCH = 32
RATE, CONTINUED_RATE = 4e-3, 1e-3
NEAR, FAR = 1.1, 2.0
SHIFT = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, required=True, help="the trainer's renderings (its folder `pictures`)")
    parser.add_argument("--work", type=Path, required=True, help="where the renderings with held-out words are kept")
    parser.add_argument("--autoencoder", type=Path, help="the trainer's autoencoder.pt")
    parser.add_argument("--count", type=int, default=COUNT, help="of the trainer's renderings")
    parser.add_argument("--held-out", type=int, default=HELD_OUT_COUNT, help="renderings with held-out words")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--continued", action="store_true")
    given = parser.parse_args()
    data = training_set(given.pictures, given.count)
    data += rendered_set(given.work, HELD_OUT_SEED, given.held_out, held_out=True)
    if given.autoencoder:
        data += restored(data, given.autoencoder)
    torch.manual_seed(SEED + given.continued)
    reader = Reader()
    if given.continued:
        reader.load_state_dict({name: value.float() for name, value in load_file(str(WEIGHTS)).items()})
    train(reader, data, given.rounds, CONTINUED_RATE if given.continued else RATE)
    save_file({name: value.half().contiguous() for name, value in reader.state_dict().items()}, str(WEIGHTS))
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size / 1000:.0f} kB")


def restored(data: JudgeSet, autoencoder: Path) -> JudgeSet:
    """The round trips of every fourth picture."""
    pictures = round_trip_through(autoencoder)(data.pictures[::RESTORED_EVERY])
    return JudgeSet(pictures, data.ground[::RESTORED_EVERY], data.solids[::RESTORED_EVERY])


def train(reader: Reader, data: JudgeSet, rounds: int, rate: float) -> None:
    """Let the reader learn from every picture of the set `rounds` times."""
    pictures, ground, solids = data.pictures, torch.from_numpy(data.ground), torch.from_numpy(data.solids)
    reader.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(reader.parameters(), rate, weight_decay=1e-2)
    steps = rounds * (len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=0.15)
    for number in range(rounds):
        total = 0.0
        for rows in torch.randperm(len(pictures))[: len(pictures) // BATCH * BATCH].split(BATCH):
            seen, places = varied(as_input(pictures[rows.numpy()]).contiguous(), solids[rows])
            read = split(reader(seen.contiguous(memory_format=torch.channels_last)))  # twice as fast on a CPU
            loss = loss_of(read, ground[rows], places)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        print(f"round {number + 1} of {rounds}: loss {total * BATCH / len(pictures):.4f}", flush=True)


def loss_of(parts: dict[str, Tensor], ground: Tensor, solids: Tensor) -> Tensor:
    """Cross-entropies of solids' places, of attributes near their middles, and of floor and wall."""
    cells = (torch.arange(CELLS) + 0.5) / CELLS
    away = torch.hypot(
        solids[:, :, 0, None, None] - cells[None, None, None, :],
        solids[:, :, 1, None, None] - cells[None, None, :, None],
    )
    away = torch.where(solids[:, :, 6, None, None] > 0, away * CELLS, torch.inf)
    nearest, owner = away.min(1)
    inside = nearest < NEAR
    counted = inside | (nearest > FAR)
    loss = 4 * functional.binary_cross_entropy_with_logits(parts["solid"][:, 0][counted], inside[counted].float())
    row, down, across = torch.nonzero(inside, as_tuple=True)
    answers = solids[row, owner[row, down, across]]
    for number, name in enumerate(ATTRIBUTES):
        loss = loss + functional.cross_entropy(parts[name][row, :, down, across], answers[:, 2 + number].long())
    for number, name in enumerate(GROUND):
        loss = loss + 0.5 * functional.cross_entropy(parts[name], ground[:, number])
    return loss


def varied(pictures: Tensor, solids: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored, shifted, brightened, flatter or harsher, blurred and noisy: what an autoencoder gives back can be read too."""
    solids = solids.clone()
    turned = torch.rand(len(pictures)) < 0.5
    pictures = torch.where(turned[:, None, None, None], pictures.flip(3), pictures)
    solids[..., 0] = torch.where(turned[:, None] & (solids[..., 6] > 0), 1 - solids[..., 0], solids[..., 0])
    right, down = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    padded = functional.pad(pictures, [SHIFT] * 4, mode="replicate")
    pictures = padded[:, :, SHIFT - down : SHIFT - down + SIDE, SHIFT - right : SHIFT - right + SIDE]
    solids[..., :2] += torch.tensor([right, down]) / SIDE
    gain = 1 + 0.06 * torch.randn(len(pictures), 1, 1, 1) + 0.02 * torch.randn(len(pictures), 3, 1, 1)
    pictures = (pictures + 1) * gain - 1
    contrast = 1 + 0.08 * torch.randn(len(pictures), 1, 1, 1)
    pictures = pictures * contrast + (1 - contrast) * pictures.mean((1, 2, 3), keepdim=True)
    reach = int(torch.randint(1, 3, ()))
    blurred = functional.avg_pool2d(functional.pad(pictures, [reach] * 4, mode="replicate"), 2 * reach + 1, 1)
    share = (torch.rand(len(pictures), 1, 1, 1) * 1.3 - 0.3).clamp(0, 1)
    pictures = pictures + share * (blurred - pictures)
    noise = 0.06 * torch.rand(len(pictures), 1, 1, 1) * torch.randn_like(pictures)
    return (pictures + noise).clamp(-1, 1), solids


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
