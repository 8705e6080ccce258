from .gguf_import import load_tiny

__all__ = [
    "load_tiny",
]
