"""Check what this machine can run.

Facts about the machine enter; one line per check, with the command that fixes it, leaves.
"""
