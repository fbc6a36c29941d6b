"""What `fleetgate.yaml` says, checked once and then immutable.

`sections` and `upstreams` list every setting with its meaning, `kinds` how each kind of value is read, `load` reads a file with the
environment over it, `checks` joins what single values cannot know, `document` writes docs/configuration.md, and `watch` tells when files
changed.
"""

from proxy.settings.kinds import Secret
from proxy.settings.load import load_settings
from proxy.settings.sections import Settings
from proxy.settings.store import Store
from proxy.settings.upstreams import ModelRule, Provider

__all__ = ["ModelRule", "Provider", "Secret", "Settings", "Store", "load_settings"]
