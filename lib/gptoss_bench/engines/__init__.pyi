from .attached_server import attach, clean_url, describe_reference
from .doctor.checks import DOCTOR_ENGINES, DOCTOR_SCENARIOS, Need, can_run, examine, report_heading
from .doctor.facts import gather_facts
from .gpu_pack.build import build_pack
from .launch import launched
from .launch_options import ServerChoice
from .llama_cpp import serve_tiny
from .ollama import restore_keep_alive, unload
from .open import open_engine
from .readiness import accepts_token_counts
from .registry import (
    CHECKED_ENGINES,
    ENGINE_SPECS,
    LAUNCHABLE_ENGINES,
    METRIC_SOURCES,
    REFERENCE_SERVER,
    no_metrics_advice,
    understood_fields,
)
from .supervisor import descendants
from .word_tokens import with_word_tokens

__all__ = [
    "CHECKED_ENGINES",
    "DOCTOR_ENGINES",
    "DOCTOR_SCENARIOS",
    "ENGINE_SPECS",
    "LAUNCHABLE_ENGINES",
    "METRIC_SOURCES",
    "REFERENCE_SERVER",
    "Need",
    "ServerChoice",
    "accepts_token_counts",
    "attach",
    "build_pack",
    "can_run",
    "clean_url",
    "descendants",
    "describe_reference",
    "examine",
    "gather_facts",
    "launched",
    "no_metrics_advice",
    "open_engine",
    "report_heading",
    "restore_keep_alive",
    "serve_tiny",
    "understood_fields",
    "unload",
    "with_word_tokens",
]
