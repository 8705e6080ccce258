"""Hold the rules of the linter, one function per rule.

A summary, a request table and a manifest enter; a finding or nothing leaves.
"""
