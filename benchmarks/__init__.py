"""What Fleetgate costs, measured against a bare proxy in the same run on the same machine.

`python -m benchmarks` starts a stub upstream and each proxy as a process of its own, pins the proxies to one core and everything else
to another, sends the same requests through all of them, and reads the CPU that each proxy's process tree used from `/proc`. Ratios to
the bare proxy travel between machines; microseconds do not. A row with a single wrong reply counts as failed, whatever its speed.
"""
