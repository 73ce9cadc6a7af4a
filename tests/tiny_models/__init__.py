"""Miniatures of current model families, trained on a procedural still life."""
