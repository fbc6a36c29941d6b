"""The admin plane: health, metrics and a read-only view of agents, budgets and the ledger, on a port of its own.

Nothing here changes anything: policy is changed by editing files. What it shows comes in through `AdminViews`.
"""

from proxy.admin.api import AdminViews, build_admin

__all__ = ["AdminViews", "build_admin"]
