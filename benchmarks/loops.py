"""How well loops are found in traces of real agents: `python -m benchmarks.loops DATA.jsonl[.gz] [--fit] [--leave-out]`.

Each line of DATA is a trace: `messages` of a chat, `label` (1 stuck, 0 healthy), `onset_step`, `source`, `licence`. As a proxy would, the
detector sees the messages before each of the assistant's. A trace is found when any of its requests gets a signal; the delay is from the
onset. `--fit` looks for better weights (coordinate descent from those that ship, no randomness) on the rows under MIT or Apache-2.0 alone;
`--leave-out` fits without each source in turn and reports on it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.loops.detection import LEVELS
from proxy.loops.facts import KINDS
from proxy.loops.rules import REACH, judge, run_of
from proxy.loops.score import WEIGHTS, Weights, total
from proxy.loops.steps import Steps
from proxy.model import LoopLimits
from proxy.wire.openai_messages import parse_message

FREE = ("MIT", "Apache-2.0")
SOFT, HEALTHY, LATE, STAY = 0.12, 9.0, 1.0, 0.5
"""How soft the fit's threshold is, what a false alarm costs, what each step of delay costs, and what leaving the first weights costs."""
MOVES = (0.05, -0.05, 0.15, -0.15, 0.3, -0.3)


@dataclass
class Trace:
    """A trace and the conversation that each of its requests brings."""

    row: Mapping[str, Any]
    turns: list[Steps]

    @property
    def stuck(self) -> bool:
        return bool(self.row["label"] == 1)

    @property
    def hard(self) -> bool:
        """No three equal calls in a row."""
        calls = [str(c["function"]) for m in self.row["messages"] for c in m.get("tool_calls") or []]
        return not any(a == b == c for a, b, c in zip(calls, calls[1:], calls[2:], strict=False))


def load(path: Path) -> list[Trace]:
    raw = path.read_bytes()
    rows = [json.loads(line) for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()]
    return [_trace(row) for row in rows if row["label"] is not None and row["label_tier"] != "weak"]


def _trace(row: Mapping[str, Any]) -> Trace:
    messages = [parse_message(json.dumps(m, separators=(",", ":")).encode()) for m in row["messages"]]
    turns = [Steps(messages[:n]) for n, m in enumerate(row["messages"]) if m["role"] == "assistant"]
    return Trace(row, turns)


def report(name: str, traces: Sequence[Trace], first: Callable[[Trace], int | None]) -> str:
    """Return a line: precision, recall, F1, false alarms, recall of the hard half, median delay."""
    found = [(trace, first(trace)) for trace in traces]
    stuck = [(trace, at) for trace, at in found if trace.stuck]
    alarms = sum(at is not None for trace, at in found if not trace.stuck)
    hits = sum(at is not None for _, at in stuck)
    hard = [at is not None for trace, at in stuck if trace.hard]
    delays = sorted(at - (trace.row["onset_step"] or 0) for trace, at in stuck if at is not None)
    precision, recall = hits / max(1, hits + alarms), hits / max(1, len(stuck))
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return (
        f"{name:34} P {precision:.3f} R {recall:.3f} F1 {f1:.3f} false {alarms}/{len(found) - len(stuck)}"
        f" hard {sum(hard)}/{len(hard)} delay {delays[len(delays) // 2] if delays else '-'}"
    )


def reaches(level: str, weights: Weights = WEIGHTS) -> Callable[[Trace], int | None]:
    """Return what tells on which request of a trace the detector first reaches `level`."""
    limits, least = LoopLimits(), LEVELS.index(level)
    return lambda trace: next(
        (n for n, steps in enumerate(trace.turns) if LEVELS.index(judge(steps, limits, weights).level) >= least), None
    )


def by_source(traces: Sequence[Trace]) -> dict[str, list[Trace]]:
    """Return the traces of each family of sources."""
    found: dict[str, list[Trace]] = {}
    for trace in traces:
        found.setdefault(str(trace.row["source"]), []).append(trace)
    return found


# --- weights --------------------------------------------------------------------------------------------------------------------------


def flat(weights: Weights) -> dict[str, float]:
    """Return the weights that are fitted, by name."""
    again = {f"{how}.{kind}": weights.again[how][n] for how in weights.again for n, kind in enumerate(KINDS)}
    return {**again, "alike": weights.alike, "at_once": weights.at_once, "words": weights.words, "despite": weights.despite}


def unflat(values: Mapping[str, float]) -> Weights:
    """Return weights with `values`, kept in order: an exact repeat counts no less than one that is only near, a list nothing."""
    again = {how: [values[f"{how}.{kind}"] for kind in KINDS] for how in WEIGHTS.again}
    for n in range(len(KINDS)):
        again["near"][n] = min(again["near"][n], again["exact"][n])
        again["shape"][n] = min(again["shape"][n], again["near"][n])
    again["shape"][0] = again["shape"][3] = again["near"][3] = 0.0
    rest = {name: values[name] for name in ("alike", "at_once", "words", "despite")}
    return WEIGHTS._replace(again={how: tuple(kinds) for how, kinds in again.items()}, **rest)


def loss(traces: Sequence[Trace], weights: Weights) -> float:
    """Return what the weights cost: alarms on healthy traces, stuck ones that are missed, and each step that they are found late."""
    cost = 0.0
    for trace in traces:
        scores = [total(run_of(steps, REACH * 5, weights), weights) for steps in trace.turns]
        over = (max(scores, default=0.0) - weights.warn) / SOFT
        if not trace.stuck:
            cost += HEALTHY * math.log1p(math.exp(min(30.0, over)))
            continue
        cost += math.log1p(math.exp(min(30.0, -over)))
        best, onset = 0.0, trace.row["onset_step"] or 0
        for n, score in enumerate(scores):
            best = max(best, score)
            if onset < n <= onset + 4:
                cost += LATE / (1 + math.exp(max(-30.0, min(30.0, (best - weights.warn) / SOFT))))
    return cost


def fit(traces: Sequence[Trace], rounds: int = 2) -> Weights:
    """Return better weights for `traces`, not far from those that ship."""
    start = flat(WEIGHTS)
    values, best = dict(start), loss(traces, WEIGHTS)
    for _ in range(rounds):
        for name in start:
            for move in MOVES:
                tried = {**values, name: max(0.0, round(values[name] + move, 2))}
                weights = unflat(tried)
                cost = loss(traces, weights) + STAY * sum(abs(value - start[key]) for key, value in flat(weights).items())
                if cost < best - 1e-6:
                    values, best = flat(weights), cost
    return unflat(values)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.loops", description="Score the loop detector on traces of real agents.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--fit", action="store_true", help="look for better weights and print them")
    parser.add_argument("--leave-out", action="store_true", help="fit without each source and report on it")
    options = parser.parse_args()
    traces = load(options.data)
    for level in ("warn", "nudge", "block"):
        print(report(f"all, {level} or more", traces, reaches(level)))
    for source, some in by_source(traces).items():
        print(report(f"{source}, warn", some, reaches("warn")))
    free = [trace for trace in traces if str(trace.row["licence"]).startswith(FREE)]
    if options.fit:
        weights = fit(free)
        print(json.dumps(flat(weights)))
        print(report("fitted, warn", traces, reaches("warn", weights)))
        print(report("fitted, nudge", traces, reaches("nudge", weights)))
    if options.leave_out:
        for source, some in by_source(traces).items():
            weights = fit([trace for trace in free if trace.row["source"] != source], rounds=1)
            print(report(f"without {source}, warn", some, reaches("warn", weights)))
            print(report(f"without {source}, nudge", some, reaches("nudge", weights)))


if __name__ == "__main__":
    main()
