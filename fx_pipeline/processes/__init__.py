"""What ``fx-pipeline up`` starts, supervises and ends."""
