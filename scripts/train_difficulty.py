#!/usr/bin/env python3
"""Learns the weights of the difficulty score and writes them to proxy/routing/difficulty.json.

usage: train_difficulty.py ROWS.jsonl.gz [--evaluate] [--out FILE]

A row is a prompt that a strong and a weak model answered: `prompt, benchmark, licence, weak, strong_score, weak_score, group`. Only rows
under MIT or Apache-2.0 are learned from. Needs numpy, scipy and scikit-learn (1.7 was used), which the product itself does not.

How: what a prompt gains from the strong model (strong score - weak score, less the mean of its benchmark and pair, so that only the order
within one kind of task is learned) is fitted by a ridge regression on the words (sublinear tf-idf of words and neighbouring pairs, the
`TERMS` that weigh most) and on the numbers of `proxy.routing.features`, once for all and once more for each kind of message. A longer
message counts as harder from the start (`LENGTH`): that held on every benchmark of amounts, and is all that is known of a new one.
`--evaluate` prints APGR (arXiv 2406.18665) on rows left out: five folds by group, and each benchmark left out as a whole.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from proxy.routing import learned
from proxy.routing.features import KINDS, NUMBERS, Kind, Seen, look
from proxy.wire.call import Call, Message

Array = Any
"""A numpy array; numpy is not there where types are checked."""
SEED, TERMS, ALPHA, NUMBER_SCALE, LEAST_ROWS = 7, 6000, 20.0, 0.15, 4
LENGTH: dict[Kind, tuple[float, float, float]] = {
    "choice": (5.9, 0.8, 0.03),
    "amounts": (5.5, 0.45, 0.1),
    "code": (6.3, 0.5, 0.05),
    "formula": (5.2, 0.6, 0.0),
    "other": (4.6, 1.1, 0.02),
}
"""By kind: mean and deviation of the length's logarithm, and its weight."""
LEVEL: dict[Kind, tuple[float, float]] = {
    "choice": (0.1, 0.8),
    "amounts": (0.15, 0.85),
    "code": (0.25, 0.95),
    "formula": (0.25, 0.95),
    "other": (0.0, 0.7),
}
"""By kind: the share that its easiest and its hardest message get. What the weak model loses on benchmarks of code and formulas is twice
what it loses on the others."""
SAME = {"gsm8k": "gsm", "zeroeval-gsm": "gsm"}
"""Benchmarks of the same prompts: left out together."""


class Rows:
    """The rows, and how each looks."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        self.rows = [row for row in rows if str(row["contaminated"]) != "True"]
        known: dict[str, Seen] = {}
        self.seen = [known.setdefault(row["prompt"], seen_of(row["prompt"])) for row in self.rows]
        self.benchmark = np.array([row["benchmark"] for row in self.rows])
        self.group = np.array([row["group"] for row in self.rows])
        self.kind = np.array([seen.kind for seen in self.seen])
        self.numbers = np.array([seen.numbers for seen in self.seen])
        self.length = np.log1p(np.array([seen.chars for seen in self.seen]))
        self.free = np.array([free(row["licence"]) for row in self.rows])
        strong, weak = (np.array([float(row[name]) for row in self.rows]) for name in ("strong_score", "weak_score"))
        scale = np.where(self.benchmark == "mt-bench", 10.0, 1.0)
        self.strong, self.weak = strong, weak
        self.gain = (strong - weak) / scale
        pair = np.array([f"{row['benchmark']} {row['weak']}" for row in self.rows])
        for name in set(pair):
            self.gain[pair == name] -= self.gain[pair == name].mean()
        self.pair = pair


def seen_of(prompt: str) -> Seen:
    """Return how a request looks that says `prompt` and nothing else."""
    return look(Call("chat", "m", b"", messages=(Message(b"", "user", (prompt,)),)), prompt)


def free(licence: str) -> bool:
    """Return whether rows under `licence` may be learned from."""
    return ("Apache" in licence or "MIT" in licence) and "CC-BY-NC" not in licence


def words(seen: Seen) -> list[str]:
    """Return the terms of a message, each as often as it comes."""
    return [term for term, count in seen.terms.items() for _ in range(count)]


def fit(data: Rows, train: Array) -> learned.Weights:
    """Return the weights that the rows `train` (indices) teach."""
    prior = sum(
        np.where(data.kind[train] == kind, weight * np.clip((data.length[train] - mean) / deviation, -2, 2), 0.0)
        for kind, (mean, deviation, weight) in LENGTH.items()
    )
    target = data.gain[train] - prior
    texts = [data.seen[i] for i in train]
    every = TfidfVectorizer(analyzer=words, min_df=LEAST_ROWS, sublinear_tf=True)
    found = every.fit_transform(texts)
    first = Ridge(alpha=ALPHA, solver="sparse_cg", random_state=SEED).fit(found, target).coef_
    weight = np.abs(first) * np.sqrt(np.asarray((found > 0).sum(0)).ravel())
    kept = sorted(every.get_feature_names_out()[np.argsort(-weight)[:TERMS]])
    some = TfidfVectorizer(analyzer=words, vocabulary=kept, sublinear_tf=True)
    matrix = some.fit_transform(texts)
    mean, deviation = data.numbers[train].mean(0), data.numbers[train].std(0) + 1e-6
    scaled = np.clip((data.numbers[train] - mean) / deviation, -3, 3) * NUMBER_SCALE
    blocks = [scaled, *[scaled * (data.kind[train] == kind)[:, None] for kind in KINDS]]
    coefficients = (
        Ridge(alpha=ALPHA, solver="sparse_cg", random_state=SEED, fit_intercept=True)
        .fit(sp.hstack([matrix, sp.csr_matrix(np.hstack(blocks))]).tocsr(), target)
        .coef_
    )
    terms, numbers = coefficients[: len(kept)], coefficients[len(kept) :].reshape(-1, len(NUMBERS)) * NUMBER_SCALE
    rounded = [round(float(x), 4) for x in some.idf_]
    result = learned.Weights(
        terms={term: (idf, round(float(w), 4)) for term, idf, w in zip(kept, rounded, terms, strict=True)},
        mean=tuple(round(float(x), 4) for x in mean),
        deviation=tuple(round(float(x), 4) + 1e-4 for x in deviation),
        numbers={kind: tuple(round(float(x), 5) for x in numbers[0] + numbers[1 + i]) for i, kind in enumerate(KINDS)},
        length=LENGTH,
        steps=dict.fromkeys(KINDS, (0.0, 1.0)),
        level=LEVEL,
    )
    scores = np.array([learned.raw(seen, result) for seen in texts])
    steps = {}
    for kind in KINDS:
        of = scores[data.kind[train] == kind]
        steps[kind] = tuple(round(float(x), 5) for x in np.quantile(of if len(of) > 30 else scores, np.linspace(0, 1, 101)))
    return learned.Weights(result.terms, result.mean, result.deviation, result.numbers, LENGTH, steps, LEVEL)


def scores(data: Rows, weights: learned.Weights, which: Array) -> Array:
    """Return the difficulty of the rows `which`, to two places as replies show it."""
    return np.array([round(learned.share(learned.raw(data.seen[i], weights), data.seen[i].kind, weights), 2) for i in which])


def apgr(difficulty: Array, strong: Array, weak: Array) -> float:
    """Return the mean share of the gain that is kept over eleven shares of calls to the strong model, the hardest first."""
    order = np.argsort(-difficulty, kind="stable")
    gains = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / max(1e-9, (strong - weak).sum())
    return float(np.mean([gains[round(len(order) * k / 10)] for k in range(11)]))


def table(data: Rows, difficulty: Array, known: Array) -> dict[str, float]:
    """Return APGR by pair of models."""
    pairs = sorted(set(data.pair[known]))
    return {p: round(apgr(difficulty[m], data.strong[m], data.weak[m]), 3) for p in pairs for m in [known & (data.pair == p)]}


def evaluate(data: Rows) -> dict[str, dict[str, float]]:
    """Return APGR on rows that were not learned from: by folds, and by benchmark left out."""
    difficulty, every = np.zeros(len(data.rows)), np.arange(len(data.rows))
    for train, test in GroupKFold(5).split(every, groups=data.group):
        difficulty[test] = scores(data, fit(data, train[data.free[train]]), test)
    folds = table(data, difficulty, np.ones(len(every), bool))
    family = np.array([SAME.get(name, name) for name in data.benchmark])
    for name in sorted(set(family)):
        test = np.where(family == name)[0]
        difficulty[test] = scores(data, fit(data, np.where((family != name) & data.free)[0]), test)
    return {"five folds": folds, "benchmark left out": table(data, difficulty, np.ones(len(every), bool))}


def main() -> None:
    """Learn, and say how well."""
    ap = argparse.ArgumentParser()
    ap.add_argument("rows", type=Path)
    ap.add_argument("--evaluate", action="store_true")
    ap.add_argument("--out", type=Path, default=learned.FILE)
    args = ap.parse_args()
    data = Rows(args.rows)
    measured = evaluate(data) if args.evaluate else {}
    if args.evaluate:
        sys.stdout.write(json.dumps(measured, indent=1) + "\n")
    weights = fit(data, np.where(data.free)[0])
    used = collections.Counter((row["benchmark"], row["licence"]) for row, is_free in zip(data.rows, data.free, strict=True) if is_free)
    about = {
        "rows": [{"benchmark": name, "licence": licence, "rows": count} for (name, licence), count in sorted(used.items())],
        "seed": SEED,
        "made_by": "scripts/train_difficulty.py",
        "apgr": measured,
    }
    kept = {name: getattr(weights, name) for name in ("mean", "deviation", "numbers", "length", "steps", "level", "terms")}
    args.out.write_text(json.dumps({"about": about, "weights": kept}, separators=(",", ":"), sort_keys=True) + "\n")
    sys.stdout.write(f"{args.out}: {args.out.stat().st_size >> 10} KiB, {len(weights.terms)} terms, {sum(used.values())} rows\n")


if __name__ == "__main__":
    main()
