"""OpenCV is the only package that the hint nodes need and ComfyUI does not include."""

from __future__ import annotations

INSTALL = "python -m pip install --no-deps opencv-python-headless"


def require_opencv() -> None:
    """Raise ValueError if OpenCV cannot be imported, with a way to install it that changes no other package."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"OpenCV is missing ({error}); install any of its packages and restart ComfyUI, for example in ComfyUI's own "
            f"Python: {INSTALL}"
        ) from error
