"""The RO-Crate of each committed run has what the specification demands and describes the files that are there."""

import hashlib
import json
import subprocess

import pytest

from gptoss_bench import paths
from gptoss_bench.runs.crate import CRATE_FILE, SPECIFICATION, crate_document
from gptoss_bench.runs.folder import Run

KNOWN = subprocess.run(
    ["git", "ls-files", "results/runs/*/manifest.json"], cwd=paths.ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
FOLDERS = sorted((paths.ROOT / name).parent for name in KNOWN)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_committed_run_has_a_crate_of_its_files(folder):
    kept = json.loads((folder / CRATE_FILE).read_text())
    assert kept == crate_document(Run.load(folder)), "run `gptoss-bench site --published`"


@pytest.mark.parametrize("folder", FOLDERS[:1], ids=lambda folder: folder.name)
def test_a_crate_has_what_the_specification_demands(folder):
    kept = json.loads((folder / CRATE_FILE).read_text())
    assert kept["@context"] == f"{SPECIFICATION}/context"
    entities = {entity["@id"]: entity for entity in kept["@graph"]}
    assert len(entities) == len(kept["@graph"])
    descriptor, root = entities[CRATE_FILE], entities["./"]
    assert (descriptor["@type"], descriptor["about"]) == ("CreativeWork", {"@id": "./"})
    assert descriptor["conformsTo"] == {"@id": SPECIFICATION}
    assert root["@type"] == "Dataset"
    assert all(root[name] for name in ("name", "description", "datePublished", "license"))
    assert {"name", "description"} <= entities[root["license"]["@id"]].keys()
    parts = [part["@id"] for part in root["hasPart"]]
    assert sorted(parts) == sorted(file.name for file in folder.iterdir() if file.name != CRATE_FILE)
    for name in parts:
        assert entities[name]["sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert {one["@id"] for one in entities["#measurement"]["instrument"]} <= entities.keys()
