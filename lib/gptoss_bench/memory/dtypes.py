"""Bytes per element, and what each dtype of a model stores its weights in."""

ELEMENT_BYTES = {"bfloat16": 2, "float32": 4, "uint8": 1, "float8_e4m3fn": 1}
SAFETENSORS_NAMES = {"bfloat16": "BF16", "float32": "F32", "uint8": "U8"}
# The element of every tensor except packed expert weights: mxfp4 packs those only. fp8 is a lower bound: one byte for
# every weight and no scales, although engines keep embeddings, norms and sinks wider.
ELEMENT_BY_DTYPE = {"bf16": "bfloat16", "fp32": "float32", "mxfp4": "bfloat16", "fp8": "float8_e4m3fn"}
# MXFP4: 32 weights of 4 bits share one scale byte, so 17 bytes hold 32 weights: 4.25 bits each.
MXFP4_BLOCK_WEIGHTS = 32
MXFP4_BLOCK_BYTES = 16
