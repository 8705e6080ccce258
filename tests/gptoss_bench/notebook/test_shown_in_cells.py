"""What the values of the Python interface look like as the value of a cell."""

from IPython.core.interactiveshell import InteractiveShell

from gptoss_bench import paths
from gptoss_bench.runs.finding import Finding, Findings
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.summary import Distribution, LoadSummary, Resolved


def test_a_wrong_argument_is_one_line_in_a_cell_and_other_errors_keep_their_traceback(capsys):
    shell = InteractiveShell()
    shell.run_cell("from gptoss_bench import bench\nbench('', concurrency=0)")
    assert capsys.readouterr().out.strip() == "UsageError: concurrency must be 1 or more, not 0"
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out


def test_a_summary_is_a_table_in_a_cell_that_marks_what_is_not_resolved():
    ttft_s = Distribution(p50=0.25, p90=0.5, p99=1.0, n=40, resolved=Resolved(p50=True))
    html = LoadSummary(requests=12000, completed=11999, output_tok_s_total=12345.6, ttft_s=ttft_s)._repr_html_()
    assert all(f">{shown}<" in html for shown in ("12,000", "11,999", "12,346", "unknown", "0.25", "~0.5", "~1", "40"))
    assert "itl_s" not in html  # without samples


def test_findings_are_a_table_in_a_cell():
    html = Findings([Finding("a-rule", "error", "1 < 2", "do this")])._repr_html_()
    assert ">a-rule<" in html and ">1 &lt; 2<" in html
    assert Findings()._repr_html_() == "The linter found nothing."
    [run, *_] = [Run.load(folder) for folder in sorted(paths.RUNS.glob("*-vllm-h100-*"))]
    assert run.findings and run.findings[0].rule in Findings(run.findings)._repr_html_()
