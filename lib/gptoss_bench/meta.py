"""The second opinion on every count: the real model class, built without memory on torch's meta device."""

from dataclasses import asdict

from gptoss_bench.architecture import Architecture


def meta_tensors(architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Name and shape of each parameter of `GptOssForCausalLM`, in the model's own order.

    Takes a few seconds, nearly all of them the import of transformers.
    """
    import torch  # the two cost seconds, and only this count needs them
    from transformers import GptOssConfig, GptOssForCausalLM

    config = asdict(architecture)
    del config["name"], config["quantisation"]
    config["layer_types"] = list(architecture.layer_types)
    with torch.device("meta"):
        model = GptOssForCausalLM(GptOssConfig(**config))
    return tuple((name, tuple(tensor.shape)) for name, tensor in model.named_parameters())
