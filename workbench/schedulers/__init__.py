"""What starts jobs on a host and knows what became of them, behind `ports.Scheduler`."""
