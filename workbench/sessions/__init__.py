"""Interactive sessions: shells and notebooks on nodes, which outlive terminals, links and jobs."""
