"""A server's words on a page are text, and a site of unknown origin loses nothing but its own files."""

import shutil
from pathlib import Path

import pytest

import published
from gptoss_bench import paths
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import EndpointRecord, Manifest
from gptoss_bench.runs.summary import OtherSummary
from gptoss_bench.site.build import FILE_LIST, build_site
from gptoss_bench.site.report import make_report
from gptoss_client import UsageError
from site_pages import Page

WORDS = [
    "<link rel=stylesheet href=//H/x.css>",
    "<meta http-equiv=refresh content='0;url=data:text/html,x'>",
    "<b style='background:url(http://H/b)'>b</b>",
    "<form action=http://H><input></form>",
    "<plaintext>",
    "<script>x()</script>",
    "![a](http://H/a.png) [b](http://H) **c** _d_ `e`",
    "```\n<img src=x>\n# heading\n| a | b |\n|---|---|",
]


@pytest.mark.parametrize("words", WORDS)
def test_what_a_server_says_is_no_element_of_a_report(words, tmp_path):
    server = EndpointRecord(model=words, engine=words, version=words, quantisation=words)
    manifest = Manifest(run_id="r", status="incomplete", reason=words, labels=[words], endpoint=server, start_utc=words)
    report = make_report(manifest, OtherSummary(), [Finding(words, words, words, words)], [])
    plain = make_report(Manifest(run_id="r"), OtherSummary(), [Finding("a", "b", "c", "d")], [])
    for name, made in (("bad", report), ("good", plain)):
        (tmp_path / f"{name}.html").write_text(made.html())
    bad, good = Page(tmp_path / "bad.html"), Page(tmp_path / "good.html")
    assert set(bad.tags) <= {*good.tags, "strong"}
    assert (bad.links, bad.pictures) == (good.links, good.pictures)
    assert "Content-Security-Policy" in bad.text
    for line in report.markdown().splitlines():
        assert "<link" not in line and "<script" not in line and "](http" not in line.replace("\\]", "")


@pytest.fixture(scope="module")
def run() -> Run:
    return Run.load(paths.RUNS / published.VERDICTS)


def test_a_new_site_removes_only_the_files_of_the_old_one(run, tmp_path):
    site, outside = tmp_path / "site", tmp_path / "outside"
    outside.write_text("mine")
    build_site([run], site)
    listed = (site / FILE_LIST).read_text()
    (site / "own.txt").write_text("mine")
    (site / "old.html").write_text("of the old site")
    (site / "link.html").symlink_to(outside)
    (site / FILE_LIST).write_text(listed + f"old.html\nlink.html\n../outside\n{outside}\n")
    build_site([run], site)
    assert not (site / "old.html").exists()
    assert outside.read_text() == (site / "own.txt").read_text() == (site / "link.html").read_text() == "mine"
    assert (site / FILE_LIST).read_text() == listed


@pytest.mark.parametrize("content", ['<meta content="gptoss_bench">', ""])
def test_a_folder_without_a_list_is_not_taken_for_a_site(run, content, tmp_path):
    for name in ("site", "site.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(content)
    with pytest.raises(UsageError, match="has no list of the files of a site"):
        build_site([run], tmp_path / "site")
    assert len(list(tmp_path.rglob("index.html"))) == 2


def test_a_link_in_a_run_is_not_published(tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_text("not for others")
    copy = Path(shutil.copytree(paths.RUNS / published.VERDICTS, tmp_path / "runs" / published.VERDICTS))
    (copy / "lint.json").unlink(missing_ok=True)
    (copy / "lint.json").symlink_to(secret)
    build_site([Run.load(copy)], tmp_path / "site")
    assert not any(b"not for others" in file.read_bytes() for file in (tmp_path / "site").rglob("*") if file.is_file())


def test_a_scenario_with_the_name_of_a_page_does_not_replace_it(run, tmp_path):
    run = Run(run.path, run.manifest.model_copy(update={"scenario": "method"}), run.summary)
    build_site([run], tmp_path / "site")
    assert (tmp_path / "site" / "run-method.html").exists()
    assert "The method" in (tmp_path / "site" / "method.html").read_text()
