"""The command line: each subcommand, the runs it starts, and its reports."""
