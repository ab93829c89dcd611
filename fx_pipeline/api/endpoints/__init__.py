"""The operations under ``/rates/``: paths, parameters, reading, and response bodies."""
