"""Putting the house together: files to one runtime snapshot (`build`), and a process around it (`serve`).

The only layer that knows all others. What lives as long as the process (stores, ledger, metrics, memo, the engine) is a `House`; what
files configure is a `Snapshot`, swapped whole on reload. `quickstart` is what makes the first minute work without any key.
"""
