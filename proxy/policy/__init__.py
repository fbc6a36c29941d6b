"""What an agent's contract says about one call: which models it may ask for, which tools it may offer, how large a reply, how many turns.

`contract` holds the rules, pure; `stage` runs them on an exchange. The contract itself is the `Grant` of the agent, made from its files
by `identity`: this package never reads a file, and never widens what it is given. A rule of a shadow layer refuses only dry, and never
hides an enforced one.
"""
