"""List the clients that `bench` compares: their command lines for a load, and their installed versions."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.calibration.accuracy import KIT_CLIENT, STOCK_CLIENT
from gptoss_bench.calibration.reference.stream import MODEL
from gptoss_client import PUBLISHED_PROMPT, UsageError

PEERS_DIR = paths.ROOT / "build" / "peers"  # made by `make setup-peers`: a venv for each name
_CLIENTS = paths.PACKAGE / "calibration" / "peers" / "clients"
_WORDS = ("[UNK]", *PUBLISHED_PROMPT.rstrip(".").split(), ".")


@dataclass(frozen=True, slots=True)
class Job:
    """The load of one run: `requests` in a closed loop of `streams`; `folder` is an empty folder for this run."""

    url: str
    streams: int
    requests: int
    tokens: int
    folder: Path

    @property
    def out(self) -> Path:
        """Return the file for the client's report."""
        return self.folder / "report.json"


@dataclass(frozen=True, slots=True)
class Peer:
    """One client: `kind` selects its command line and report reader, `package` is the distribution it is installed by.

    `first_token` is the event that ends its TTFT. `venv` is its folder below PEERS_DIR, None for the Python of this
    kit. `slow` clients take long to start, so they run in the first round only.
    """

    name: str
    kind: str
    package: str
    first_token: str
    venv: str | None = None
    slow: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


_OFFLINE = {"HF_HUB_OFFLINE": "1"}
# One process per core: guidellm starts up to ten by default, which is costly on a small machine.
_GUIDELLM = {"GUIDELLM__MAX_WORKER_PROCESSES": str(os.cpu_count() or 1), **_OFFLINE}
_TEXT = "first text, reasoning or answer"
_ANSWER = "first text of the answer"
_CHOICE = "first message with a choice, the empty role chunk too"
_WORKERS = os.cpu_count() or 1
ALL_CLIENTS = (
    Peer(KIT_CLIENT, "kit", "gptoss-bench", _TEXT),
    Peer(STOCK_CLIENT, "run_stock_httpx", "httpx", _ANSWER),
    Peer("aiohttp", "plain", "aiohttp", _ANSWER, "aiohttp"),
    Peer("vLLM-style", "vllm", "aiohttp", _CHOICE, "aiohttp"),
    Peer("vllm-rs", "vllm-rs", "vllm-rs", _CHOICE, "vllm-rs"),
    Peer("SGLang", "sglang", "sglang", _TEXT, "sglang"),
    Peer("guidellm", "guidellm", "guidellm", _TEXT, "guidellm", slow=True, environment=_GUIDELLM),
    Peer("aiperf", "aiperf", "aiperf", _TEXT, "aiperf", slow=True),
    Peer(
        "inference-perf", "inference-perf", "inference-perf", _ANSWER, "inference-perf", slow=True, environment=_OFFLINE
    ),
)


def choose_peers(names: Sequence[str]) -> list[Peer]:
    """Return the clients with these names, or all, always with this kit's. Raises UsageError for an unknown name."""
    unknown = sorted(set(names) - {peer.name for peer in ALL_CLIENTS})
    if unknown:
        raise UsageError(f"no client {unknown[0]!r}: choose from {', '.join(peer.name for peer in ALL_CLIENTS)}")
    return [peer for peer in ALL_CLIENTS if not names or peer.name in names or peer.name == KIT_CLIENT]


def python_of(peer: Peer, peers: Path) -> Path:
    """Return the interpreter that has the client installed, or the client itself if it is compiled."""
    if peer.venv is None:
        return Path(sys.executable)
    return peers / peer.venv / "bin" / ("vllm-rs" if peer.kind == "vllm-rs" else "python")


def peer_version(peer: Peer, peers: Path = PEERS_DIR) -> str:
    """Return the installed version. Raises UsageError if there is none."""
    python = python_of(peer, peers)
    if not python.exists():
        raise UsageError("not installed here (make setup-peers)")
    code = f"import importlib.metadata; print(importlib.metadata.version({peer.package!r}))"
    asked = ["--version"] if peer.kind == "vllm-rs" else ["-c", code]
    done = subprocess.run([python, *asked], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no error message"])[-1]
        raise UsageError(f"not installed here ({last})")
    return done.stdout.strip().removeprefix(f"{peer.package} ")


def peer_command(peer: Peer, job: Job, peers: Path = PEERS_DIR) -> list[str]:
    """Write the input files of one run to its folder, and return its command line."""
    python = python_of(peer, peers)
    if arguments_of := _ARGUMENTS.get(peer.kind):
        return [str(python.with_name(peer.kind)), *arguments_of(job)]
    if peer.kind == "kit":
        return [str(python), "-m", "gptoss_bench", *_kit(job)]
    load = [job.url, str(job.out), *map(str, (job.streams, job.requests, job.tokens))]
    if peer.venv is None:
        return [str(python), "-m", f"gptoss_bench.calibration.peers.clients.{peer.kind}", *load]
    if peer.kind == "sglang":
        return [str(python), str(_CLIENTS / "with_sglang.py"), *load]
    return [str(python), str(_CLIENTS / "with_aiohttp.py"), peer.kind, *load]


def peer_environment(peer: Peer) -> dict[str, str]:
    """Return the environment of a client: no proxy, and the path of this kit if it runs in this kit's Python."""
    # In offline mode aiperf would look for even a local tokenizer in the hub's cache.
    dropped = ("PYTHONPATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and "proxy" not in name.lower()}
    path = {"PYTHONPATH": str(paths.PACKAGE.parent)} if peer.venv is None else {}
    return {**kept, **path, **peer.environment}


def _kit(job: Job) -> list[str]:
    sizes = ("-c", str(job.streams), "-n", str(job.requests), "--max-tokens", str(job.tokens))
    return ["load", "--url", job.url, "--model", MODEL, *sizes, "--results", str(job.folder)]


def _guidellm(job: Job) -> list[str]:
    prompts = job.folder / "prompts.jsonl"
    line = json.dumps({"prompt": PUBLISHED_PROMPT, "output_tokens_count": job.tokens})
    prompts.write_text(f"{line}\n" * job.requests)
    return [
        "run",
        *("--backend", f"kind=openai_http,target={job.url},model={MODEL},validate_backend=false"),
        *("--profile", f"kind=concurrent,streams={job.streams}"),
        *("--constraint", f"kind=max_requests,count={job.requests}"),
        *("--data", f"kind=json_file,path={prompts}"),
        *("--output", f"kind=json,path={job.out}"),
        "--disable-console",
    ]


def _vllm_rs(job: Job) -> list[str]:
    prompts = job.folder / "prompts.jsonl"
    prompts.write_text(f"{json.dumps({'prompt': PUBLISHED_PROMPT})}\n" * job.requests)
    return [
        *("bench", "serve", "--backend", "openai-chat", "--base-url", job.url, "--model", MODEL),
        *("--tokenizer", str(tokenizer_folder(job.folder / "tokenizer")), "--dataset-name", "custom"),
        *("--dataset-path", str(prompts), "--custom-output-len", str(job.tokens), "--disable-tqdm"),
        *("--max-concurrency", str(job.streams), "--num-prompts", str(job.requests)),
        *("--save-result", "--save-detailed", "--result-dir", str(job.out.parent), "--result-filename", job.out.name),
    ]


def _inference_perf(job: Job) -> list[str]:
    """Write the configuration of inference-perf, with a process for each core.

    With prompts of its own (mock) it requests at most 30 tokens, which cannot be changed; its other sources of prompts
    need a dataset or do not use the chat API.
    """
    stage = {"num_requests": job.requests, "concurrency_level": job.streams}
    config = {
        "api": {"type": "chat", "streaming": True},
        "data": {"type": "mock"},
        "load": {"type": "concurrent", "stages": [stage], "num_workers": min(_WORKERS, job.streams)},
        "server": {"type": "vllm", "model_name": MODEL, "base_url": job.url, "ignore_eos": False},
        "tokenizer": {"pretrained_model_name_or_path": str(tokenizer_folder(job.folder / "tokenizer"))},
        "report": {"request_lifecycle": {"summary": False, "per_stage": False, "per_request": True}},
        "storage": {"local_storage": {"path": str(job.folder / "inference-perf")}},
    }
    path = job.folder / "config.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return ["--config_file", str(path)]


def _aiperf(job: Job) -> list[str]:
    prompts = job.folder / "prompts.jsonl"
    prompts.write_text(json.dumps({"text": PUBLISHED_PROMPT}) + "\n")
    return [
        *("profile", "--model", MODEL, "--url", job.url, "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", str(job.streams), "--request-count", str(job.requests)),
        *("--extra-inputs", f"max_tokens:{job.tokens}", "--use-server-token-count"),
        *("--input-file", str(prompts), "--custom-dataset-type", "single_turn"),
        *("--tokenizer", str(tokenizer_folder(job.folder / "tokenizer"))),
        *("--export-level", "raw", "--no-gpu-telemetry", "--no-server-metrics", "--ui", "none"),
        *("--artifact-dir", str(job.folder / "aiperf")),
    ]


def tokenizer_folder(folder: Path) -> Path:
    """Write a tokenizer for the words of the prompt: aiperf requires one, and named ones need the hub."""
    folder.mkdir()
    words = {"type": "WordLevel", "vocab": {word: at for at, word in enumerate(_WORDS)}, "unk_token": _WORDS[0]}
    tokenizer = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": words}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": _WORDS[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind))
    return folder


# By kind: the arguments of a client that is a program beside the interpreter of its venv, of the same name.
_ARGUMENTS = {"aiperf": _aiperf, "guidellm": _guidellm, "inference-perf": _inference_perf, "vllm-rs": _vllm_rs}
