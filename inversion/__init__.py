"""Image to noise: the Trajectory, and the methods that make one. Plain functions over tensors, without ComfyUI."""
