from .architecture import REST, Allocation, Architecture, catalogue_entry, read_architectures
from .capacity import (
    GIB,
    Fit,
    FitResult,
    bytes_by_module,
    dequantisation_bytes,
    eager_score_bytes,
    estimate_fit,
    first_not_to_fit,
    fit_grid,
    fit_summary,
    kv_bytes,
    largest_context,
    largest_sequences,
    layer_bytes,
    parameters_by_module,
    running_totals,
    weights_bytes,
)
from .checkpoint import disagreement, totals
from .gpus import Gpu, parse_budget, read_gpus
from .load_attempt import HOW, KILLED, Attempt, attempt_load
from .loader import LOADER_HOW, attempt_loading, loading_order
from .models import meta_tensors, read_model
from .random_checkpoint import write_checkpoint
from .sink_support import Backend, capability, read_backends
from .sinks import Reading, read_sinks
from .transformers_mxfp4 import completed, setup_here, unpacking_case

__all__ = [
    "GIB",
    "HOW",
    "KILLED",
    "LOADER_HOW",
    "REST",
    "Allocation",
    "Architecture",
    "Attempt",
    "Backend",
    "Fit",
    "FitResult",
    "Gpu",
    "Reading",
    "attempt_load",
    "attempt_loading",
    "bytes_by_module",
    "capability",
    "catalogue_entry",
    "completed",
    "dequantisation_bytes",
    "disagreement",
    "eager_score_bytes",
    "estimate_fit",
    "first_not_to_fit",
    "fit_grid",
    "fit_summary",
    "kv_bytes",
    "largest_context",
    "largest_sequences",
    "layer_bytes",
    "loading_order",
    "meta_tensors",
    "parameters_by_module",
    "parse_budget",
    "read_architectures",
    "read_backends",
    "read_gpus",
    "read_model",
    "read_sinks",
    "running_totals",
    "setup_here",
    "totals",
    "unpacking_case",
    "weights_bytes",
    "write_checkpoint",
]
