"""Parse the command line and print results, one module per command.

Arguments enter; text and an exit code leave. `main` dispatches; nothing is measured or computed here.
"""
