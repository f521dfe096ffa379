"""Study folders without training anything."""

from pathlib import Path

import pytest
from helpers.studies import StudyMaker


@pytest.fixture
def make_study(tmp_path: Path) -> StudyMaker:
    """Makes study folders in the test's own folder."""
    return StudyMaker(tmp_path)


@pytest.fixture(scope="session")
def study_maker() -> type[StudyMaker]:
    """The maker itself, for studies that several tests share."""
    return StudyMaker
