"""What remains of an exchange once it is over: numbers, rows, words and one log line.

Every sink here reads the same `engine.record.Record`, so that what a metric counts, a ledger row holds and `explain` says can never
differ. `timing` reads the marks for all of them. Nothing here decides about a request, and nothing here may stop one: what a sink
cannot do at once it queues, bounded, and what it has to drop it counts.
"""
