"""What every test shares. Fixtures live in tests/fixtures_*.py; name those files here."""

import os

from hypothesis import settings

pytest_plugins = ("fixtures_registry", "fixtures_stack")

settings.register_profile("search", deadline=None)  # SEARCH=1: other examples every time
settings.register_profile("gate", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("search" if "SEARCH" in os.environ else "gate")
