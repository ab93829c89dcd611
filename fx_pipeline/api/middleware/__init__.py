"""The layers that each request passes before Datasette. `stack` shows them in order."""
