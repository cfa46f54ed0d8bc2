"""One undisturbed session for all tests of durability; cases begin with its certificates, which saves time."""

from __future__ import annotations

import pytest

from tests.durability.trials import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.open(tmp_path_factory.mktemp("durability") / "shop", steps=40, prepared=True)
