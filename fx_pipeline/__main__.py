"""`python -m fx_pipeline` is the command `fx-pipeline`."""

from fx_pipeline.commands.cli import main

main()
