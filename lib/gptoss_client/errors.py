"""Exceptions that are shown to the user as one line, without a traceback."""


class ShownAsOneLine(Exception):
    """An exception whose message says what to do, so that IPython shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class UsageError(ShownAsOneLine):
    """Input is invalid or a prerequisite is missing; nothing was run.

    The message is one line: what is wrong, the value, and what to do. The command line exits with code 2.
    """


class RunFailed(ShownAsOneLine):
    """A run started and did not complete; what it had recorded is kept.

    The message is one line: what failed and why. The command line exits with code 1.
    """
