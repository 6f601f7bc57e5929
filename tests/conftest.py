"""What every test shares. Fixtures live in tests/fixtures_*.py; name those files here."""

import os

from hypothesis import settings

pytest_plugins = ("fixtures_stack",)

settings.register_profile("desk", deadline=None)
settings.register_profile("gate", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("gate" if "CI" in os.environ else "desk")
