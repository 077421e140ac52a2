"""Hosts: connections to them behind `ports.Connection`, and the code that is brought there."""
