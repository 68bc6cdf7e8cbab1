"""Simulated Planfix and Google: faithful, strict, with faults that can be switched on.

Plain objects, ``handle(request) -> response`` over a store; `http.py` serves them. The demo, the tests and the demo
overlay use nothing else.
"""
