"""Accelerated MACE: plans, measurements and the gate they pass; shipped to the cluster beside `jobs`."""
