"""What is drawn. Widgets are given values and never fetch any."""
