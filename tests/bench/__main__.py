"""`make bench`: measures the workbench and prints every figure beside what is to be reached."""

from __future__ import annotations

from tests.bench import bench_cluster, bench_events, bench_sessions, bench_start, bench_tui, bench_tunnels
from tests.bench.measure import machine

print(f"measured on {machine()}\n")
bench_start.main()
bench_events.main()
bench_tui.main()
bench_cluster.main()
bench_tunnels.main()
bench_sessions.main()
