"""The version, read by hatchling at build time. Imports nothing."""

__version__ = "0.1.0.dev0"
