"""Hosts without Slurm, and this machine: one detached supervisor a job."""

from workbench.schedulers.process.scheduler import ProcessScheduler

__all__ = ["ProcessScheduler"]
