import pytest

pytest.register_assert_rewrite("tests.contract.connection_contract")
