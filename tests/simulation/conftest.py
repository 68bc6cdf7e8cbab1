"""The stories' modules hold tests, so that their assertions are told in full as well."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("stories")
