"""The processes of `fx-pipeline up`: started, supervised and ended."""
