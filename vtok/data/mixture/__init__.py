"""Several data sets as one, in given shares."""

from vtok.data.mixture.source import MixtureData

__all__ = ["MixtureData"]
