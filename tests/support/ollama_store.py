"""An `ollama serve` that keeps blobs and creates models as Ollama's API describes it; its model says three words.

Run as a program: OLLAMA_HOST is its address, OLLAMA_MODELS its store.
"""

import asyncio
import hashlib
import json
import os
from pathlib import Path

from answering import Exchange, answering

REGISTRY = Path("manifests/registry.ollama.ai/library")


class Store:
    """The answers of an Ollama with the models in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uploads = 0

    def names(self) -> list[str]:
        return [f"{path.parent.name}:{path.name}" for path in (self.folder / REGISTRY).glob("*/*")]

    async def answer(self, exchange: Exchange) -> None:
        body = exchange.request.body
        asked = json.loads(body) if body and not exchange.path.startswith("/api/blobs") else {}
        name = str(asked.get("model", "")).removesuffix(":latest")
        known = (self.folder / REGISTRY / name / "latest").is_file() if name else False
        if exchange.path == "/":
            return await exchange.stream("text/plain; charset=utf-8", b"Ollama is running")
        match exchange.path.split("/")[2]:
            case "version":
                await exchange.json(200, {"version": "0.33.0"})
            case "tags":
                await exchange.json(200, {"models": [{"name": each} for each in self.names()]})
            case "ps":
                await exchange.json(
                    200, {"models": [{"name": each, "size": 5, "size_vram": 5} for each in self.names()]}
                )
            case "blobs":
                await self._blob(exchange, body)
            case "create":
                [digest] = asked["files"].values()
                if not (self.folder / "blobs" / digest).is_file():
                    return await exchange.json(400, {"error": f'invalid digest "{digest}"'})
                assert "<|start|>" in asked["template"] and "<|end|>" in asked["template"]
                manifest = self.folder / REGISTRY / name / "latest"
                manifest.parent.mkdir(parents=True)
                manifest.write_text(digest)
                await exchange.json(200, {"status": "success"})
            case _ if not known:
                await exchange.json(404, {"error": f"model '{name}' not found"})
            case "show":
                info = {"general.name": "gpt-oss", "general.parameter_count": 20_914_757_184}
                await exchange.json(200, {"details": {"quantization_level": "MXFP4"}, "model_info": info})
            case "chat":
                lines = [{"message": {"content": word}, "done": False} for word in (" com", " yet", " were")]
                lines.append({"message": {"content": ""}, "done": True, "done_reason": "length", "eval_count": 3})
                pieces = (json.dumps({"model": name, **line}).encode() + b"\n" for line in lines)
                await exchange.stream("application/x-ndjson", *pieces)

    async def _blob(self, exchange: Exchange, body: bytes) -> None:
        digest = exchange.path.rpartition("/")[2]
        file = self.folder / "blobs" / digest
        if exchange.request.method == "HEAD":
            exchange.set_status(200 if file.is_file() else 404)
            return exchange.finish()
        if digest != f"sha256:{hashlib.sha256(body).hexdigest()}":
            return await exchange.json(400, {"error": "digest mismatch"})
        self.uploads += 1
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        exchange.set_status(201)
        exchange.finish()


async def main() -> None:
    port = int(os.environ["OLLAMA_HOST"].rpartition(":")[2])
    async with answering(Store(Path(os.environ["OLLAMA_MODELS"])).answer, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
