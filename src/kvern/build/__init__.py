"""From a bundle to a revision: unpack, find the handler, lock and install the requirements."""
