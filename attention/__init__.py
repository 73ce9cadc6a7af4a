"""Edits of attention: prompt-to-prompt, shared rows of self-attention, maps to masks. Pure functions over tensors."""
