"""`python -m fx_pipeline` is the command `fx-pipeline`."""

from fx_pipeline.cli import main

main()
