"""Where things are, named once. The kit is used from its own checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
TINY = PACKAGE / "tiny_model"
TINY_MODEL = TINY / "gpt-oss-tiny.gguf"
GPUS = PACKAGE / "memory" / "gpus.csv"
ARCHITECTURES = PACKAGE / "memory" / "architectures.json"
ATTENTION_SINKS = PACKAGE / "memory" / "attention_sinks.csv"
SITE_TEMPLATE = PACKAGE / "site" / "template"
PUBLISHED_BLOCK = PACKAGE / "importers" / "published_block.txt"  # as the load script of the write-up printed it
BUILD = ROOT / "build"  # what make fetches and makes beyond .venv
TINY_CHECKPOINT = BUILD / "gpt-oss-tiny-o200k"

NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
CLAIMS = RESULTS / "claims" / "openai-oss-on-azure.yaml"

SITE = RESULTS / "site"  # what make site writes
REPORTS = BUILD / "reports"  # and make report
