from .architecture import Allocation, Architecture, architectures
from .attempt import LIMIT_BY_DEVICE, SIGKILL_EXIT_CODE, Attempt
from .capacity import (
    CHECKPOINT,
    Fit,
    FitResult,
    architecture_summary,
    bytes_by_module,
    dequantisation_bytes,
    eager_score_bytes,
    estimate_fit,
    fit_grid,
    fits_by_device,
    kv_bytes,
    largest_context,
    largest_sequences,
    layer_bytes,
    parameters_by_module,
    running_totals,
    weights_bytes,
)
from .checkpoint import checkpoint_totals, describe_header_mismatch
from .engine_share import ENGINES_WITH_SHARE, GIB, EngineShare, engine_share
from .gpus import Budget, Gpu, gpu_catalogue, parse_budget
from .models import meta_device_tensors, read_model
from .random_checkpoint import Speech, has_random_weights, with_layers, write_random_checkpoint
from .sink_support import SinkBackend, parse_compute_capability, sink_backends
from .sinks import SinkEffect, measure_sink_effect
from .tensor_allocation import attempt_allocation
from .torch_package import require_torch
from .transformers_loader import LOADER_LIMIT_BY_DEVICE, attempt_checkpoint_load, loading_order
from .transformers_mxfp4 import TransformersSetup, installed_setup, predict_mxfp4_decision, with_required_packages

__all__ = [
    "CHECKPOINT",
    "ENGINES_WITH_SHARE",
    "GIB",
    "LIMIT_BY_DEVICE",
    "LOADER_LIMIT_BY_DEVICE",
    "SIGKILL_EXIT_CODE",
    "Allocation",
    "Architecture",
    "Attempt",
    "Budget",
    "EngineShare",
    "Fit",
    "FitResult",
    "Gpu",
    "SinkBackend",
    "SinkEffect",
    "Speech",
    "TransformersSetup",
    "architecture_summary",
    "architectures",
    "attempt_allocation",
    "attempt_checkpoint_load",
    "bytes_by_module",
    "checkpoint_totals",
    "dequantisation_bytes",
    "describe_header_mismatch",
    "eager_score_bytes",
    "engine_share",
    "estimate_fit",
    "fit_grid",
    "fits_by_device",
    "gpu_catalogue",
    "has_random_weights",
    "installed_setup",
    "kv_bytes",
    "largest_context",
    "largest_sequences",
    "layer_bytes",
    "loading_order",
    "measure_sink_effect",
    "meta_device_tensors",
    "parameters_by_module",
    "parse_budget",
    "parse_compute_capability",
    "predict_mxfp4_decision",
    "read_model",
    "require_torch",
    "running_totals",
    "sink_backends",
    "weights_bytes",
    "with_layers",
    "with_required_packages",
    "write_random_checkpoint",
]
