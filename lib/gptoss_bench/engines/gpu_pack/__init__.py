"""Build what a GPU machine without a network needs to run the kit with vLLM: wheels in, a folder to carry out."""
