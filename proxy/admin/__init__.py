"""The admin plane on a port of its own: health, metrics, the dashboard and its API, and what people stop, resume and approve.

Policy is changed by editing files and never here. What it shows and whose hands it lends come in through `AdminViews`.
"""

from proxy.admin.api import AdminViews, build_admin

__all__ = ["AdminViews", "build_admin"]
