"""Types of command-line arguments that several commands share."""

import argparse


def parse_share(text: str) -> float:
    """Parse a share such as 3% or 0.03 and return it as a number above 0 and below 1."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share: write 3%% or 0.03")
    return value
