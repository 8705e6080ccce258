"""Name every file and folder of the kit once.

In a checkout, results and builds lie in the checkout. An installed kit uses the current directory instead; the
notebooks and the claims file are in the checkout only.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parents[1]
ROOT = _CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() and (_CHECKOUT / "notebooks").is_dir() else Path.cwd()
TINY = PACKAGE / "tiny_model"
TINY_MODEL = TINY / "gpt-oss-tiny.gguf"
GPUS = PACKAGE / "memory" / "gpus.csv"
ARCHITECTURES = PACKAGE / "memory" / "architectures.json"
ATTENTION_SINKS = PACKAGE / "memory" / "attention_sinks.csv"
TRANSFORMERS_MXFP4 = PACKAGE / "memory" / "transformers_mxfp4.csv"
SITE_TEMPLATES = PACKAGE / "site" / "templates"
PUBLISHED_BLOCK = PACKAGE / "importers" / "published_block.txt"  # printed by the load script of the write-up
BUILD = ROOT / "build"  # engines and models that `make` installs or trains
TINY_CHECKPOINT = BUILD / "gpt-oss-tiny-o200k"
RANDOM_CHECKPOINTS = BUILD / "random"  # models with random weights, by name

NOTEBOOKS = ROOT / "notebooks"
PROFILES = NOTEBOOKS / "profiles"
RESULTS = ROOT / "results"
RUNS = RESULTS / "runs"
CLAIMS = RESULTS / "claims" / "openai-oss-on-azure.yaml"

SITE = RESULTS / "site"  # the published one, written by `make publish`
OWN_SITE = BUILD / "site"  # written by `make site`
REPORTS = BUILD / "reports"  # written by `make report`
