"""The command `doctor`: everything that usually goes wrong, checked within ten seconds."""
