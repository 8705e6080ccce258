from .attached_server import REFERENCE, attach, clean_url, describe_reference
from .doctor.checks import DOCTOR_ENGINES, DOCTOR_SCENARIOS, Need, can_run, examine, report_heading
from .doctor.facts import gather_facts
from .launch import launched
from .llama_cpp import serve_tiny
from .ollama import OLLAMA_DEFAULT_MODEL, pull, service_url, unload
from .opening import LaunchOptions, check_options, open_engine
from .supervisor import descendants

__all__ = [
    "DOCTOR_ENGINES",
    "DOCTOR_SCENARIOS",
    "OLLAMA_DEFAULT_MODEL",
    "REFERENCE",
    "LaunchOptions",
    "Need",
    "attach",
    "can_run",
    "check_options",
    "clean_url",
    "descendants",
    "describe_reference",
    "examine",
    "gather_facts",
    "launched",
    "open_engine",
    "pull",
    "report_heading",
    "serve_tiny",
    "service_url",
    "unload",
]
