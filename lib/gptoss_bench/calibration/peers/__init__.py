"""Run other benchmark clients against the reference server.

Loads and installed clients enter; their errors and their cost beside this kit's leave.
"""
