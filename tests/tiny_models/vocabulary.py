"""Captions as token ids of ComfyUI's own SD1 tokenizer, and the few vocabulary rows that they use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPTokenizer

MAX_TOKENS = 77
ZERO_PAD_TOKEN = 0
LORA_WORD = "blueprint"


@dataclass(frozen=True)
class Vocabulary:
    """`token_ids` int64 [V], ascending: the rows of the full vocabulary that a checkpoint stores."""

    token_ids: torch.Tensor
    tokenizer: CLIPTokenizer

    def rows(self, captions: list[str], pad_with_end: bool) -> torch.Tensor:
        """Compact row numbers, int64 [B, 77], padded with the end token (SD1) or with token 0 (SD2)."""
        ids = torch.full((len(captions), MAX_TOKENS), self.tokenizer.eos_token_id if pad_with_end else ZERO_PAD_TOKEN)
        for row, caption in enumerate(captions):
            tokens = self.tokenizer(caption)["input_ids"]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        return torch.searchsorted(self.token_ids, ids)


def vocabulary() -> Vocabulary:
    """All words that a caption can contain, and the LoRA's. `COMFYUI_PATH` is the ComfyUI tree with the tokenizer."""
    from .world.captions import WORDS

    folder = Path(os.environ["COMFYUI_PATH"]) / "comfy" / "sd1_tokenizer"
    tokenizer = CLIPTokenizer.from_pretrained(str(folder))
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, ZERO_PAD_TOKEN}
    for word in (*WORDS, LORA_WORD):
        used.update(tokenizer(word)["input_ids"])
    return Vocabulary(torch.tensor(sorted(used)), tokenizer)
