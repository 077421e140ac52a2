"""A real Slurm and a real sshd on this machine, laid out like CSD3, for tests and for trying things out.

    host.py        one machine: processes in network, host-name, file-system and process namespaces of its own
    site.py        what the site consists of: machines, users, secrets, ways to log in
    site/          its configuration as files
    files.py       the folder of a cluster, filled: configuration, keys, homes, the laptop's side
    cluster.py     all of it brought up and torn down
    packages.py    the Debian packages that it is made of
    fixture.py     the `cluster` fixture

Everything lives in namespaces that end with their first process, and in one folder: neither users nor
mounts nor links are left when it has gone, however it ended. `docs/cluster.md` shows what it offers.
"""
