"""Fixtures of the scenario: a host to which deploys are cut off."""

from fixtures import acme_root, address, app, names, neighbour, traffic

__all__ = ["acme_root", "address", "app", "names", "neighbour", "traffic"]
