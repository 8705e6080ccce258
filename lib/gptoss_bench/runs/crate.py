"""Describe the folder of a published run as an RO-Crate (version 1.3, https://w3id.org/ro/crate/1.3)."""

import hashlib
from pathlib import Path

from gptoss_bench.files import write_json, writing
from gptoss_bench.runs.folder import KEPT, Run
from gptoss_bench.runs.manifest import run_caption
from gptoss_client import JsonValue, one_line

CRATE_FILE = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.3"
LICENCE = "https://creativecommons.org/licenses/by/4.0/"
TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".py": "text/x-python",
}
CONTENTS = {
    "manifest.json": "Machine, server, code and parameters of the run",
    "summary.json": "Every figure of the run",
    "lint.json": "Findings of the linter",
    "notebook.ipynb": "The executed notebook",
    "raw.parquet": "Bytes of every response, with the arrival time of each piece in nanoseconds",
    "requests.parquet": "One row per planned request, derived from the raw bytes",
    "events.parquet": "One row per event of a response stream, derived from the raw bytes",
    "stalls.parquet": "Times at which the client stood still",
    "heartbeats.parquet": "Lateness of the client's heartbeats",
    "gpu.parquet": "Samples of the GPU",
    "host.parquet": "Samples of the client's machine",
    "server.parquet": "Samples of the server's counters",
    "levels.parquet": "Timing errors of the client, one row per level of the calibration",
    "verdicts.parquet": "One row per claim, with its verdict",
}


def write_crate(run: Run) -> None:
    """Write ro-crate-metadata.json into the folder of a finished run. Raises UsageError if the disk refuses."""
    with writing(run.path, KEPT):
        write_json(run.path / CRATE_FILE, crate_document(run))


def crate_document(run: Run) -> dict[str, JsonValue]:
    """Return the metadata of a run folder: its files with their SHA-256, and what made them from what, and when."""
    manifest, server = run.manifest, run.manifest.server
    files = sorted(file for file in run.path.iterdir() if file.is_file() and file.name != CRATE_FILE)
    parts: list[JsonValue] = [_at(file.name) for file in files]
    root = {
        **_entity("./", "Dataset", f"Run {run.run_id}"),
        "description": one_line(run_caption(manifest, run_id=False)) or f"Scenario {run.scenario}",
        "datePublished": manifest.end_utc or manifest.start_utc,
        "license": _at(LICENCE),
        "hasPart": parts,
        "mentions": _at("#measurement"),
    }
    action = {
        **_entity("#measurement", "CreateAction", f"Measurement of scenario {run.scenario}"),
        "startTime": manifest.start_utc,
        "endTime": manifest.end_utc,
        "instrument": [_at("#kit"), *([_at("#server")] if server.engine else [])],
        "result": parts,
    }
    kit = {
        **_entity("#kit", "SoftwareApplication", "gptoss-bench"),
        "softwareVersion": manifest.code.version if manifest.code else None,
        "identifier": manifest.code.commit if manifest.code else None,
    }
    graph: list[JsonValue] = [
        {
            **_entity(CRATE_FILE, "CreativeWork", "Metadata of this folder"),
            "about": _at("./"),
            "conformsTo": _at(SPECIFICATION),
        },
        _known(root),
        _known(action),
        _known(kit),
    ]
    if server.engine:
        engine = _entity("#server", "SoftwareApplication", server.engine)
        graph.append(_known({**engine, "softwareVersion": server.version, "description": server.model}))
    graph.append(
        {
            **_entity(LICENCE, "CreativeWork", "CC BY 4.0"),
            "description": "Creative Commons Attribution 4.0 International",
        }
    )
    graph += [_file(file) for file in files]
    return {"@context": f"{SPECIFICATION}/context", "@graph": graph}


def _file(file: Path) -> JsonValue:
    content = file.read_bytes()
    return _known(
        {
            **_entity(file.name, "File", CONTENTS.get(file.name, file.name)),
            "encodingFormat": TYPES.get(file.suffix),
            "contentSize": str(len(content)),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    )


def _entity(identity: str, kind: str, name: str) -> dict[str, JsonValue]:
    return {"@id": identity, "@type": kind, "name": name}


def _at(identity: str) -> JsonValue:
    return {"@id": identity}


def _known(entity: dict[str, JsonValue]) -> JsonValue:
    return {name: value for name, value in entity.items() if value is not None}
