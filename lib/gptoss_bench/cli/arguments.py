"""A share as one types it: 3% or 0.03. Pure."""

import argparse


def parse_share(words: str) -> float:
    """The share, above 0 and below 1, that `words` name. Raises argparse's error in words."""
    try:
        value = float(words.removesuffix("%")) / (100 if words.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{words!r} is no share: write it as 3%% or 0.03")
    return value
