"""Slurm: batch jobs on a cluster, over any connection to a host where its commands are."""

from workbench.schedulers.slurm.render import SlurmSettings
from workbench.schedulers.slurm.scheduler import SlurmScheduler

__all__ = ["SlurmScheduler", "SlurmSettings"]
