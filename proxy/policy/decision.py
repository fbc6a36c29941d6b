"""What a policy package says of one request, tool call or reply, read out of the document that an engine returns. Pure.

A package decides by the rules of these names that it has: `allow`, `deny`, and what is owed when it lets something pass (`warn`,
`limit_output`, `route`, `redact`, `require_approval`). All packages are heard and one refusal is enough. Where a package has a rule
`allow`, that must be true: false and undefined both refuse. Where it has none, an empty `deny` lets pass. A package that the engine does
not know refuses. What is not of the documented shape is a fault and never a permission.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from proxy.model import Source

Hook = Literal["request", "tool_call", "response"]
ROOT = "fleetgate"
OUTPUTS: Mapping[Hook, frozenset[str]] = {
    "request": frozenset({"allow", "deny", "warn", "limit_output", "route", "redact", "require_approval"}),
    "tool_call": frozenset({"allow", "deny", "warn", "require_approval"}),
    "response": frozenset({"allow", "deny", "warn"}),
}
"""The rules by which a package decides, by what it decides on."""
APPROVAL = "require_approval"
MOST = 64
"""Messages, warnings and texts of one package that are read; more is a fault."""
LONGEST = 400
"""Characters of a message that are kept."""


class PolicyFault(Exception):
    """The policies could not be evaluated, or said something that means nothing. Never a permission."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package that decides.

    Attributes:
        path: as written, `fleetgate.request.egress`.
        source: where it begins.
        allows: it has a rule `allow`.
        shadow: it runs dry.
        always: its `allow` is true whatever the input, and it denies nothing.
        places: where its outputs and the texts of its messages are written.
    """

    path: str
    hook: Hook
    source: Source
    allows: bool = False
    shadow: bool = False
    places: Mapping[str, Source] = field(default_factory=dict)
    always: bool = False

    @property
    def name(self) -> str:
        """The path without its root, as findings have it: `request.egress`."""
        return self.path.removeprefix(f"{ROOT}.")

    def place(self, output: str, *texts: str) -> str:
        """Return where what refused is written: at one of `texts` if the source has it, else at the first rule called `output`."""
        found = next((self.places[f'"{text}"'] for text in texts if f'"{text}"' in self.places), None)
        return str(found or self.places.get(output) or self.source)


@dataclass(frozen=True, slots=True)
class Ruling:
    """One refusal or warning of a package."""

    package: Package
    message: str
    rule: str = ""
    remedy: str = ""
    output: str = "deny"

    @property
    def where(self) -> str:
        """File and line, and the name of the rule."""
        name = self.rule or f"{self.package.path}.{self.output}"
        return f"{self.package.place(self.output, self.rule, self.message)} {name}"


@dataclass(slots=True)
class Decision:
    """What all packages together say. Refusals of dry packages are among `denials`, marked by their package; their duties are not kept."""

    denials: list[Ruling] = field(default_factory=list)
    warnings: list[Ruling] = field(default_factory=list)
    limit_output: tuple[int, Package] | None = None
    route: tuple[str, Package] | None = None
    redact: list[tuple[str, Package]] = field(default_factory=list)

    @property
    def refusal(self) -> Ruling | None:
        """The first refusal that is not dry, else the first dry one; a plain one before one that a person may lift."""
        found = sorted(self.denials, key=lambda denial: denial.output == APPROVAL)
        return next((d for d in found if not d.package.shadow), found[0] if found else None)


def decide(packages: Sequence[Package], document: object) -> Decision:
    """Return what `packages` say, given the engine's document of `data.fleetgate.<hook>` (None: it knows nothing there).

    Raises:
        PolicyFault: an output is not of its documented shape.
    """
    decision = Decision()
    for package in packages:
        outputs = _inside(document, package.path.split(".")[2:])
        if outputs is None:
            words = f"the policy engine does not know package {package.path}"
            remedy = "Have it serve the same folder of policies."
            decision.denials.append(Ruling(package, words, remedy=remedy, output="package"))
            continue
        _hear(package, outputs, decision)
    return decision


def _inside(document: object, path: Iterable[str]) -> Mapping[str, Any] | None:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else None


def _hear(package: Package, outputs: Mapping[str, Any], decision: Decision) -> None:
    denied = _words(package, "deny", outputs.get("deny"))
    approval = _words(package, "require_approval", outputs.get("require_approval")) if "require_approval" in OUTPUTS[package.hook] else []
    if package.allows and outputs.get("allow") is not True:
        if outputs.get("allow") not in (None, False):
            raise _shape(package, "allow", "true or false")
        denied = denied or [Ruling(package, f"{package.path} does not allow it", output="allow")]
    decision.denials += denied
    for ruling in approval:
        words = f"a person must approve this: {ruling.message}"
        decision.denials.append(Ruling(package, words, ruling.rule, ruling.remedy or "Have a person do it.", APPROVAL))
    decision.warnings += _words(package, "warn", outputs.get("warn"))
    if package.hook == "request":
        _duties(package, outputs, decision)


def _duties(package: Package, outputs: Mapping[str, Any], decision: Decision) -> None:
    limit, model, texts = outputs.get("limit_output"), outputs.get("route"), outputs.get("redact")
    if limit is not None:
        if isinstance(limit, float) and limit.is_integer():
            limit = int(limit)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise _shape(package, "limit_output", "a whole number of tokens above 0")
    if model is not None and not (isinstance(model, str) and model):
        raise _shape(package, "route", "the name of a model")
    if texts is not None and not (isinstance(texts, list) and len(texts) <= MOST and all(isinstance(t, str) and t for t in texts)):
        raise _shape(package, "redact", f"a set of at most {MOST} texts")
    if package.shadow:
        found = {"limit_output": limit, "route": model, "redact": texts}
        decision.warnings += [Ruling(package, f"would {name}", output=name) for name, value in found.items() if value]
        return
    if limit is not None and (decision.limit_output is None or limit < decision.limit_output[0]):
        decision.limit_output = limit, package
    if model is not None:
        if decision.route is not None and decision.route[0] != model:
            raise PolicyFault(f"{package.path} routes to {model[:80]}, {decision.route[1].path} to {decision.route[0][:80]}")
        decision.route = model, package
    decision.redact += [(text, package) for text in texts or ()]


def _words(package: Package, output: str, value: object) -> list[Ruling]:
    """Return the rulings of an output: a set or array of texts or `{message, rule, remedy}`, or a plain true."""
    if value is None or value is False:
        return []
    if value is True:
        return [Ruling(package, f"{package.path}.{output} holds", output=output)]
    if not isinstance(value, list):
        raise _shape(package, output, f"a set (`{output} contains message if ...`)")
    if len(value) > MOST:
        raise _shape(package, output, f"at most {MOST} messages")
    return [_ruling(package, output, item) for item in value]


def _ruling(package: Package, output: str, item: object) -> Ruling:
    if isinstance(item, str):
        return Ruling(package, _shown(item) or f"{package.path}.{output} holds", output=output)
    if isinstance(item, Mapping) and item.keys() <= {"message", "rule", "remedy"} and all(isinstance(v, str) for v in item.values()):
        rule = _shown(item.get("rule", ""))
        return Ruling(package, _shown(item.get("message", "")) or rule, rule, _shown(item.get("remedy", "")), output)
    raise _shape(package, output, "texts or {message, rule, remedy}")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST])


def _shape(package: Package, output: str, expected: str) -> PolicyFault:
    return PolicyFault(f"{package.place(output)}: {package.path}.{output} is not {expected}")
