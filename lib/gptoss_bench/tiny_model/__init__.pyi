from .gguf_import import load_tiny
from .tokenizer_files import write_speaking_tokenizer

__all__ = [
    "load_tiny",
    "write_speaking_tokenizer",
]
