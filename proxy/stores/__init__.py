"""Adapters of the ports that hold shared state: process memory, or one SQLite file that the processes of one machine share.

`open_store(url)` is the way in. The contract of each port is one test suite that runs on every adapter (`tests/stores`).
"""

from proxy.stores.open import Stores, open_store, sqlite_path

__all__ = ["Stores", "open_store", "sqlite_path"]
