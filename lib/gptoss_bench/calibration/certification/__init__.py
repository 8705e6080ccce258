"""Certify any load tool against the reference server.

The tool's command line enters; its errors, its losses and the load up to which it may be trusted leave.
"""
