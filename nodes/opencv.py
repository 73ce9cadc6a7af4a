"""OpenCV is the one package that the hint nodes need and ComfyUI does not bring."""

from __future__ import annotations

INSTALL = "python -m pip install --no-deps opencv-python-headless"


def require_opencv() -> None:
    """Raise ValueError where no OpenCV can be imported, saying how to install one that moves no other package."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"OpenCV is missing ({error}); install any of its packages and restart ComfyUI, for example in ComfyUI's own "
            f"Python: {INSTALL}"
        ) from error
