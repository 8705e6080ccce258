"""The two ways in which the kit fails in words: bad input, and a run that did not succeed."""


class UsageError(Exception):
    """Bad input or a missing prerequisite. The message is one line: what is wrong and what to do. Exit code 2."""


class RunFailed(Exception):
    """A run was made and is not whole. The message is one line; what was finished is on disk. Exit code 1."""
