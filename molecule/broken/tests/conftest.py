"""Fixtures of the scenario: a host where deploys are cut off and releases do not work."""

from fixtures import acme_root, address, app, names, neighbour, traffic

__all__ = ["acme_root", "address", "app", "names", "neighbour", "traffic"]
