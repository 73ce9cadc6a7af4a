"""Figures and pictures that tell how close a result is. No ComfyUI here."""
