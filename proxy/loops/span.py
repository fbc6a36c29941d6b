"""How long sessions last: from the first call that this process saw, and no longer than it remembers.

A session is a name that the client gives, so a new name is a new session; a restart begins anew, and a replica that saw none of it begins
at the first call that it sees. What must end whatever happens is bounded by a budget. A session that was silent for a day is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from proxy.model import Deny, Limit, Reason

MOST, SILENT_S = 20_000, 86_400.0
"""Sessions that are kept, and after how many seconds of silence one begins anew."""


class Spans:
    """See the module. One loop's."""

    def __init__(self, most: int = MOST) -> None:
        self._seen: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._most = most

    def over(self, session: str, limits: Sequence[Limit], now: float) -> Deny | None:
        """Take a call of `session` in at `now`, UTC seconds, and refuse it where the session has lasted longer than it may."""
        first, latest = self._seen.get(session, (now, now))
        if now - latest > SILENT_S:
            first = now
        if session not in self._seen and len(self._seen) >= self._most:
            self._seen.popitem(last=False)
        self._seen[session] = (first, now)
        self._seen.move_to_end(session)
        dry: Deny | None = None
        for limit in limits:
            if now - first <= limit.value:
                continue
            rule, lasted = f"budgets.session.duration_s ({limit.source.file}:{limit.source.line})", int(now - first)
            message = f"the session has lasted {lasted} seconds, and {limit.value} are allowed"
            deny = Deny(Reason.STEP_LIMIT, message, rule, "Begin a new session, or finish by hand.", limit.shadow)
            if not deny.shadow:
                return deny
            dry = deny
        return dry
