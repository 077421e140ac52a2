"""Faults of all kinds against the real cluster, from a seed that is printed: what fails can be had again.

    link.py        a link that can be cut, stalled and slowed down, between a laptop and the cluster
    stream.py      a run that writes, and a reader that follows it through whatever happens to the link
    virtual.py     an event loop in which a day passes in seconds
    __main__.py    the long form: `make chaos HOURS=1`

The short form, the tests here, runs with all the others.
"""
