"""Serve Ollama's API from the embedded llama.cpp server.

Requests in Ollama's API enter; answers of the embedded engine in Ollama's format leave.
"""
