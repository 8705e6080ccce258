"""Where things are, named once. The kit is used from its own checkout."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
DATA = PACKAGE / "data"
TINY_MODEL = DATA / "gpt-oss-tiny.gguf"
GPUS = DATA / "gpus.csv"
ARCHITECTURES = DATA / "architectures.json"
ATTENTION_SINKS = DATA / "attention_sinks.csv"
PUBLISHED_BLOCK = DATA / "published_block.txt"  # as the load script of the write-up printed it
BUILD = ROOT / "build"  # what make fetches and makes beyond .venv
TINY_CHECKPOINT = BUILD / "gpt-oss-tiny-o200k"

NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
CLAIMS = RESULTS / "claims.yaml"

SITE = ROOT / "site"  # what make site writes
REPORTS = BUILD / "reports"  # and make report
