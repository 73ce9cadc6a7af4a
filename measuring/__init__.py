"""Metrics and plots: how close a result is to the original. No ComfyUI here."""
