"""The layers that each request passes before Datasette: cache, edge, gate, shortcut."""
