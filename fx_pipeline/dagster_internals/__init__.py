"""The private parts of Dagster that this project uses, and why. Nothing else imports `dagster._*`.

Checked against dagster 1.13.27. Read this package before an upgrade of Dagster. Imports inside functions are
slow ones that a run does not need: the workspace takes 0.15 s.
"""
