"""Serve paced streams and log when each event was sent.

A plan of streams enters; bytes on a socket and a log of send times leave.
"""
