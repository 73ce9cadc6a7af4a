"""Noise to image: schedules, step rules, sampling loops. Plain functions over tensors; ComfyUI is not imported here."""
