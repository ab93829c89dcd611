"""The commands, run as subprocesses."""
