"""Clients that `bench` sets side by side, one file each, run as processes of their own.

Each is called with URL OUT STREAMS REQUESTS TOKENS, sends REQUESTS streaming chat requests in a closed loop of
STREAMS, and writes to OUT what it would report (see `peer_told`).
"""
