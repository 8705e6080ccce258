"""Start the kernel of an executed notebook so that it cannot outlive its owner, and stop it when asked."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from jupyter_client.manager import AsyncKernelManager

GRACE_S = 30.0  # for the kernel to write its run after it was interrupted
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


class OwnedKernelManager(AsyncKernelManager):
    """Kill the kernel when this process dies, also below a process that adopts orphans (systemd, a container's init).

    The kernel itself looks for the id 1 of a new parent, and only after it has started. Its connection file, which
    holds its key, is in a folder that goes with this process too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.private = PrivateFolder()
        self.connection_file = str(self.private.path / "kernel.json")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **kw: Any) -> None:
        owner, library = os.getpid(), ctypes.CDLL(None)

        def die_with_owner() -> None:
            if sys.platform == "linux":
                library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != owner:
                    os._exit(1)

        await super()._async_launch_kernel(kernel_cmd, preexec_fn=die_with_owner, **kw)

    _launch_kernel = _async_launch_kernel


class PrivateFolder:
    """A new folder that is removed by `close`, and by a process of its own if this one dies in any way."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="gptoss-kernel-"))
        self._remover = subprocess.Popen(
            ["/bin/sh", "-c", 'cat > /dev/null; rm -rf -- "$0"', str(self.path)],
            stdin=subprocess.PIPE,  # closed by the system when this process dies
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._remover.stdin is not None:
            self._remover.stdin.close()
        self._remover.wait()


class KernelStop:
    """Interrupt the kernel that runs a notebook, and kill it if it has not ended within GRACE_S."""

    def __init__(self) -> None:
        self.requested = False
        self._kernels: list[OwnedKernelManager] = []
        self._timer: threading.Timer | None = None

    def manager_class(self) -> type[AsyncKernelManager]:
        """Return the class of the kernel manager; it reports the manager here."""
        kernels = self._kernels

        class Reporting(OwnedKernelManager):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                kernels.append(self)

        return Reporting

    def request(self) -> None:
        """Interrupt the running cell. Raises KeyboardInterrupt if no kernel has been started."""
        self.requested = True
        process = self._process()
        if process is None:
            raise KeyboardInterrupt
        self._timer = threading.Timer(GRACE_S, self._signal, [process, signal.SIGKILL])
        self._timer.daemon = True
        self._timer.start()
        self._signal(process, signal.SIGINT)

    def check(self, **_cell: Any) -> None:
        """Raise KeyboardInterrupt if a stop was requested; called before each cell."""
        if self.requested:
            raise KeyboardInterrupt

    def close(self) -> None:
        """Forget the kernel, which has ended, and remove its connection file."""
        if self._timer is not None:
            self._timer.cancel()
        for kernel in self._kernels:
            kernel.private.close()

    def _process(self) -> int | None:
        provisioner = self._kernels[-1].provisioner if self._kernels else None
        return getattr(provisioner, "pid", None)

    @staticmethod
    def _signal(process: int, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(process, number)  # a kernel leads its own group
