"""Which versions are at work."""

from importlib.metadata import PackageNotFoundError, version


def installed(package: str) -> str | None:
    """The version of an installed package; None where it runs from its sources, or not at all."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
