"""Miniatures of today's kinds of model, trained on a procedural still life."""
