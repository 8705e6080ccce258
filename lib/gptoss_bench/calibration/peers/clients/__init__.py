"""Hold small client programs that are run as processes of their own.

Arguments on the command line enter; one report as JSON leaves.
"""
