"""Fixtures of the scenario: a host to which releases are deployed that do not work."""

from fixtures import acme_root, address, app, names, neighbour, traffic

__all__ = ["acme_root", "address", "app", "names", "neighbour", "traffic"]
