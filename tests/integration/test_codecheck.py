"""codecheck.yml names outputs that are there, and the newest published verdicts among them."""

import yaml

import published
from gptoss_bench import paths
from gptoss_bench.claims.schema import load_write_up


def test_codecheck_names_files_of_this_repository_and_the_source_of_the_claims():
    found = yaml.safe_load((paths.ROOT / "codecheck.yml").read_text())
    files = [one["file"] for one in found["manifest"]]
    assert all((paths.ROOT / name).is_file() for name in files)
    assert f"results/runs/{published.VERDICTS}/notebook.ipynb" in files
    assert found["paper"]["reference"] == load_write_up().source.url
