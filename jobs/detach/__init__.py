"""Runs jobs apart from whoever started them, on hosts that have no scheduler.

    python -E -S -m jobs.detach submit | requeue | status | cancel     (JSON lines in, JSON lines out)

A job is a folder with a `run.sh`. `submit` writes that script and leaves behind a supervisor: a process
in a session of its own, which no terminal, connection or parent takes along when it ends. It waits for
its turn, runs the script in a process group, ends the group when the time limit is reached or when it
is asked to, and writes `exit.json`.

    run.sh        what runs: environment and command, so that a person can run it again
    stdout.log    its standard output and error, of all attempts
    state.json    the newest attempt: who supervises it and, once it runs, which process it is
    exit.json     how an attempt ended; where it is of an older attempt than `state.json`, it is history
    cancel        asks the supervisor of the attempt that it names to end it

Nothing but files and processes is held anywhere, and every process is recognised by its number, its
start and the boot of its host together. So whatever is killed at whatever moment, `status` finds out:
an attempt without supervisor and without `exit.json` is lost, and what still runs of it is ended.

It needs only the standard library, so that it can be started without site packages, in some 30 ms:
every look at the jobs of a host starts it once.
"""
