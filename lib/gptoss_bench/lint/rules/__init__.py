"""Define the rules of the linter, each with its check, reason and advice.

A result enters a rule; a finding or nothing leaves.
"""
