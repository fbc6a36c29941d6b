#!/usr/bin/env python3
"""Learns the weights of the difficulty score and writes them to proxy/routing/difficulty.json.

usage: train_difficulty.py ROWS.jsonl.gz [--evaluate] [--out FILE]

A row is a prompt that a strong and a weak model answered: `prompt, benchmark, licence, weak, strong_score, weak_score, group`. Only rows
under MIT or Apache-2.0 are learned from. Needs numpy, scipy and scikit-learn (1.7 was used), which the product itself does not.

How: what a prompt gains from the strong model (strong score - weak score, less the mean of its benchmark and pair, so that only the order
within one kind of task is learned) is fitted by a ridge regression on the words (idf of words and neighbouring pairs, the
`TERMS` that weigh most) and, by kind of message, on the numbers of `proxy.routing.features`, and by extremely randomised trees on the
numbers of each kind with rows enough. Both are added up, with `PRIOR`: a few scales written by hand, which with the words is all that is
known of a kind without rows.
`--evaluate` prints APGR (arXiv 2406.18665) on rows left out: five folds by group, and each benchmark left out as a whole.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from proxy.routing import learned
from proxy.routing.features import KINDS, NUMBERS, Kind, Seen, look
from proxy.routing.learned import Scale, Written
from proxy.wire.call import Call, Message

Array = Any
"""A numpy array; numpy is not there where types are checked."""
SEED, TERMS, ALPHA, NUMBER_SCALE, LEAST_ROWS, KIND_ROWS = 7, 6000, 20.0, 0.12, 4, 200
NUMBERS_COUNT = 0.5
"""What the numbers' own fit counts beside the words', whose weights it shares out."""
TREES: dict[Kind, tuple[int, int, float]] = {"choice": (64, 10, 2.0), "amounts": (12, 60, 1.0), "formula": (12, 60, 0.5)}
"""By kind: most leaves of a tree, least rows of a leaf, and what the forest counts. Of code there are too few rows for one."""
FOREST = 40
PRIOR: dict[Kind, dict[str, Scale]] = {
    "choice": {"its length": (5.8, 0.8, 0.01), "repeated words": (0.7, 0.15, -0.01), "capitals": (2.6, 0.5, 0.01)},
    "amounts": {"its length": (5.4, 0.45, 0.06), "commas": (0.8, 0.6, 0.02), "names": (0.13, 0.08, -0.02)},
    "code": {"its length": (6.2, 0.25, 0.08), "quotation marks": (1.4, 0.9, 0.03), "calls in code": (0.8, 0.5, 0.015)},
    "formula": {"mathematics": (2.8, 0.6, -0.05), "questions": (0.5, 0.5, 0.025), "the length of its words": (3.5, 0.7, 0.025)},
    "other": {"its length": (4.7, 0.9, 0.004), "how many numbers it has": (0.2, 0.45, 0.05), "the length of its words": (4.5, 0.75, -0.04)},
}
"""By kind, of some numbers: mean, deviation, and what a deviation more adds. Longer texts, more amounts and more steps are harder for a
weak model than for a strong one; of formulas the densest are too hard for both."""
LEVEL: dict[Kind, tuple[float, float]] = {
    "choice": (0.1, 0.8),
    "amounts": (0.2, 0.9),
    "code": (0.25, 0.95),
    "formula": (0.2, 0.9),
    "other": (0.0, 0.7),
}
"""By kind: the share that its easiest and its hardest message get. On benchmarks of code and mathematics the weak model loses more than on
questions with answers to choose from."""
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
    """Return the terms of a message."""
    return [*seen.counts, *map(" ".join, itertools.pairwise(seen.tokens[: learned.PAIRED]))]


def telling(texts: list[Seen], target: Array) -> list[str]:
    """Return the `TERMS` that tell most of `target`, alone."""
    every = TfidfVectorizer(analyzer=words, min_df=LEAST_ROWS, binary=True)
    found = every.fit_transform(texts)
    alone = Ridge(alpha=ALPHA, solver="sparse_cg", random_state=SEED).fit(found, target).coef_
    weight = np.abs(alone) * np.sqrt(np.asarray((found > 0).sum(0)).ravel())
    return sorted(every.get_feature_names_out()[np.argsort(-weight)[:TERMS]])


def fit(data: Rows, train: Array) -> Written:
    """Return the weights that the rows `train` (indices) teach."""
    target = data.gain[train]
    texts = [data.seen[i] for i in train]
    kept = telling(texts, target)
    some = TfidfVectorizer(analyzer=words, vocabulary=kept, binary=True)
    blocks, scale = [some.fit_transform(texts)], {}
    for kind in KINDS:
        of = data.kind[train] == kind
        if of.sum() < KIND_ROWS:
            continue
        mean, deviation = data.numbers[train][of].mean(0), data.numbers[train][of].std(0) + 1e-3
        scaled = np.clip((data.numbers[train] - mean) / deviation, -3, 3) * NUMBER_SCALE
        blocks.append(sp.csr_matrix(scaled * of[:, None]))
        scale[kind] = (mean, deviation)
    coefficients = Ridge(alpha=ALPHA, solver="sparse_cg", random_state=SEED).fit(sp.hstack(blocks).tocsr(), target).coef_
    numbers = dict(zip(scale, coefficients[len(kept) :].reshape(-1, len(NUMBERS)) * (NUMBER_SCALE * NUMBERS_COUNT), strict=True))
    made = Written(
        terms={term: (short(idf), short(w)) for term, idf, w in zip(kept, some.idf_, coefficients[: len(kept)], strict=True)},
        numbers={
            kind: tuple(zip(map(short, scale[kind][0]), map(short, scale[kind][1]), map(short, numbers[kind]), strict=True))
            if kind in scale
            else ()
            for kind in KINDS
        },
        prior=PRIOR,
        trees={kind: forest(data.numbers[train], target, data.kind[train] == kind, kind) for kind in KINDS},
        steps=dict.fromkeys(KINDS, tuple(np.linspace(-0.4, 0.4, 101).round(4).tolist())),
        level=LEVEL,
    )
    known = learned.compiled(made)
    return stepped(made, np.array([learned.raw(seen, known) for seen in texts]), data.kind[train])


def stepped(made: Written, raw: Array, kind: Array) -> Written:
    """Return `made` with the hundredths of the raw scores `raw` of rows of `kind` as its steps, where a kind has rows enough."""
    steps = dict(made.steps)
    for name in KINDS:
        of = raw[kind == name]
        if len(of) >= KIND_ROWS:
            steps[name] = tuple(map(short, np.quantile(of, np.linspace(0, 1, 101))))
    return Written(made.terms, made.numbers, made.prior, made.trees, steps, made.level)


def forest(numbers: Array, target: Array, of: Array, kind: Kind) -> list[list[tuple[int, float, int, int, float]]]:
    """Return the trees that the rows `of` of `kind` teach."""
    if kind not in TREES or of.sum() < KIND_ROWS:
        return []
    leaves, rows, counts = TREES[kind]
    made = ExtraTreesRegressor(FOREST, max_leaf_nodes=leaves, min_samples_leaf=rows, max_features=0.7, random_state=SEED)
    made.fit(numbers[of].astype(np.float32), target[of])
    trees = []
    for tree in [one.tree_ for one in made.estimators_]:
        nodes = zip(tree.feature, tree.threshold, tree.children_left, tree.children_right, tree.value[:, 0, 0], strict=True)
        trees.append(
            [
                (int(f), short(t), int(low), int(high), short(v * counts / FOREST)) if f >= 0 else (-1, 0, 0, 0, short(v * counts / FOREST))
                for f, t, low, high, v in nodes
            ]
        )
    return trees


def short(x: float) -> float:
    """Return `x` to five digits."""
    return float(f"{x:.5g}")


def calibrated(data: Rows, train: Array, found: Written) -> Written:
    """Return `found` with the steps of its raw scores, as rows have them that were not learned from."""
    raw = np.zeros(len(data.rows))
    for learn, test in GroupKFold(5).split(train, groups=data.group[train]):
        known = learned.compiled(fit(data, train[learn]))
        raw[train[test]] = [learned.raw(data.seen[i], known) for i in train[test]]
    return stepped(found, raw[train], data.kind[train])


def scores(data: Rows, written: Written, which: Array) -> Array:
    """Return the difficulty of the rows `which`, to two places as replies show it."""
    weights = learned.compiled(written)
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
    rows = np.where(data.free)[0]
    weights = calibrated(data, rows, fit(data, rows))
    used = collections.Counter((row["benchmark"], row["licence"]) for row, is_free in zip(data.rows, data.free, strict=True) if is_free)
    about = {
        "rows": [{"benchmark": name, "licence": licence, "rows": count} for (name, licence), count in sorted(used.items())],
        "seed": SEED,
        "made_by": "scripts/train_difficulty.py",
        "apgr": measured,
    }
    kept = {name: getattr(weights, name) for name in ("numbers", "prior", "trees", "steps", "level", "terms")}
    args.out.write_text(json.dumps({"about": about, "weights": kept}, separators=(",", ":"), sort_keys=True) + "\n")
    sys.stdout.write(f"{args.out}: {args.out.stat().st_size >> 10} KiB, {len(weights.terms)} terms, {sum(used.values())} rows\n")


if __name__ == "__main__":
    main()
