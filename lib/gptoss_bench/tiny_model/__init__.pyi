from .checkpoint_gguf import write_checkpoint_gguf
from .gguf_import import load_tiny
from .tokenizer_files import write_speaking_tokenizer

__all__ = [
    "load_tiny",
    "write_checkpoint_gguf",
    "write_speaking_tokenizer",
]
