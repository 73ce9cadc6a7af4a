"""Noise to image: schedules, step rules, sampling loops. Plain functions over tensors, without ComfyUI."""
