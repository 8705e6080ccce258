"""Stop a command in one way for Ctrl-C, SIGTERM and SIGHUP, and tell which signal it was and what is kept."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from gptoss_client import UsageError

NOT_FINISHED = "stopped before its end"
_received: list[signal.Signals] = []


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP do what SIGINT does, which also stops a background job of a script from now on.

    A shell starts such a job with SIGINT ignored. SIGHUP stays ignored under nohup.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)


def stop_reason() -> str:
    """Return why the work of this process was stopped, with the name of the signal if it was SIGTERM or SIGHUP."""
    return f"{NOT_FINISHED} by {_received[0].name}" if _received else NOT_FINISHED


def kept_text(run: Path) -> str:
    """Return how many requests of a stopped run are kept, cancelled and never sent, and how to read those kept."""
    from gptoss_bench.runs import read_sent_requests  # it imports pandas, and every command imports this module

    reading = f". Read them with `gptoss-bench report {run.name}`"
    try:
        found = read_sent_requests(run)
    except UsageError:
        return f"completed requests were saved{reading}"
    counts = found.rows["outcome"].value_counts()
    warmup = int(((found.rows["outcome"] == "completed") & (found.rows["phase"] == "warmup")).sum())
    kept = f"{counts.get('completed', 0)}{f', {warmup} of them of the warm-up' if warmup else ''}"
    parts = [f"completed requests were saved: {kept}"]
    parts += [f"cancelled on their way: {counts['cancelled']}"] if "cancelled" in counts else []
    parts += [f"never sent: {sum(found.unsent.values())}"] if found.unsent else []
    return "; ".join(parts) + (reading if "completed" in counts else "")


@contextlib.contextmanager
def telling_what_is_kept() -> Iterator[list[Path]]:
    """Let a KeyboardInterrupt in the block say what is kept of the run whose folder was last put into the list."""
    runs: list[Path] = []
    try:
        yield runs
    except KeyboardInterrupt:
        if not runs:
            raise
        raise KeyboardInterrupt(f"stopped; {kept_text(runs[-1])}") from None


@contextlib.contextmanager
def on_first_stop(handle: Callable[[], None]) -> Iterator[None]:
    """Call `handle` for the first SIGINT within the block; a second one raises KeyboardInterrupt.

    Outside of the main thread, which gets all signals, the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        handle()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    _received.append(signal.Signals(number))
    signal.raise_signal(signal.SIGINT)
