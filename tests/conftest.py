"""What every folder of tests can use."""

pytest_plugins = ["tests.cluster.fixture"]
