"""A model of the hub over a real socket, in a process of its own: its library reads settings when it is imported."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gptoss_bench import paths
from gptoss_bench.memory.architecture import Architecture
from gptoss_client.errors import UsageError

CONFIG = json.loads(paths.ARCHITECTURES.read_text())["gpt-oss-20b"]["config"]
CONFIGS = {"mine/tuned": json.dumps(CONFIG), "mine/broken": "{", "mine/deep": "[" * 100_000}


class Hub(BaseHTTPRequestHandler):
    """Serve config.json of three models, as the hub does."""

    def do_GET(self) -> None:
        name = self.path.strip("/").removesuffix("/resolve/main/config.json")
        body = CONFIGS.get(name, "").encode()
        self.send_response(200 if body else 404)
        for header, value in {"Content-Length": len(body), "ETag": '"a1"', "X-Repo-Commit": "c" * 40}.items():
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def fit(tmp_path):
    """Run `fit` on a model of the hub; return exit code, stdout and stderr."""

    def run(model: str, endpoint: str, **settings: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "gptoss_bench", "fit", "--model", model, "--gpu", "A10", "--json"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        hub = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            command, env=kept | hub | settings, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_model_of_the_hub_is_fetched_and_then_read_from_its_cache_without_a_network(fit, hub):
    code, out, err = fit("mine/tuned", hub)
    assert code == 0, err
    assert (json.loads(out)["parameters"], json.loads(out)["source"]) == (20_914_757_184, "the hub")
    code, again, err = fit("mine/tuned", hub, HF_HUB_OFFLINE="1")
    assert (code, again) == (0, out), err


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("mine/other", "404"),
        ("mine/gpt-oss-20-b", "(did you mean 'gpt-oss-20b'?): pass a local folder"),
        ("mine/broken", "is not JSON"),
        ("mine/deep", "is not JSON"),
        ("mine/..", "cannot fetch config.json of mine/.."),
    ],
)
def test_a_model_that_the_hub_lacks_or_that_is_broken_is_one_line_and_exit_code_2(fit, hub, model, words):
    code, out, err = fit(model, hub)
    assert (code, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_without_a_network_or_offline_the_reason_is_one_line(fit):
    nobody = "http://127.0.0.1:9"
    code, out, err = fit("mine/tuned", nobody)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "refused" in err
    code, out, err = fit("mine/tuned", nobody, HF_HUB_OFFLINE="1")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "HF_HUB_OFFLINE" in err


@pytest.mark.parametrize("field", ["layer_types", "hidden_size", "quantization_config", "model_type", "attention_bias"])
def test_a_deeply_nested_value_is_refused_in_one_short_line(field):
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    value = [deep] * 24 if field == "layer_types" else deep
    with pytest.raises(UsageError) as refused:
        Architecture.from_config("mine", CONFIG | {field: value})
    assert len(str(refused.value)) < 200
