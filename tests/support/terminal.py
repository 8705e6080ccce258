"""Run a program on a pseudo-terminal."""

import os
import pty
import subprocess
import sys

KIT = [sys.executable, "-m", "gptoss_bench"]


def on_a_terminal(*command: str, **environment: str) -> bytes:
    """Return what a program prints on a pseudo-terminal."""
    controller, terminal = pty.openpty()
    env = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(command, stdout=terminal, env=env | {"TERM": "xterm"} | environment):
        os.close(terminal)
        shown = b""
        while part := _read(controller):
            shown += part
    os.close(controller)
    return shown


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        return b""
