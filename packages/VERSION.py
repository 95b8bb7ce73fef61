"""The one version that all packages of this repository share."""

__version__ = "0.1.0"
