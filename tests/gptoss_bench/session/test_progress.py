"""The progress of a run is shown by every process that is not a kernel of papermill."""

import subprocess
import sys

SHOWN = """
import sys
from gptoss_bench.session import progress
{before}
progress.LOG_S = 0
display = progress.ProgressDisplay()
display.update("3 of 4 requests")
display.close()
"""


def said(before: str) -> str:
    done = subprocess.run([sys.executable, "-c", SHOWN.format(before=before)], capture_output=True, check=True)
    return done.stderr.decode()


def test_a_log_has_the_progress_also_after_a_notebook_was_executed_by_this_process():
    assert "3 of 4 requests" in said("")
    assert "3 of 4 requests" in said("import ipykernel.kernelapp")


def test_a_kernel_without_a_jupyter_server_keeps_silent():
    began = "from ipykernel.kernelapp import IPKernelApp; IPKernelApp.instance()"
    assert said(f"import os; os.environ.pop('JPY_SESSION_NAME', None); {began}") == ""
