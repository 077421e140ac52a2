"""The local side: a terminal program that submits, watches and compares MACE runs."""

__version__ = "0.1.0"
