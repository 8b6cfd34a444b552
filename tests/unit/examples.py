"""How many random examples a test tries: a share of those of the profile in tests/conftest.py."""

from hypothesis import HealthCheck, settings


def examples(percent: int) -> settings:
    """Settings of a test.

    Args:
        percent: examples for each hundred of the profile. A fixed number would keep ``make fuzz``
            from trying more.
    """
    profile = settings.default
    number = max(1, profile.max_examples * percent // 100)
    # These tests write the files of each example anew.
    checks = [*profile.suppress_health_check, HealthCheck.function_scoped_fixture]
    return settings(max_examples=number, suppress_health_check=checks)
