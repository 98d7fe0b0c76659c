"""What pyproject.toml cannot say: a wheel carries configs/ and experiments/ inside the package.

They stay at the top of the repository, where they are read and changed, and `ganjax.shipped` finds
them at either place. An editable installation reads the repository's own.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("configs", "experiments")


class BuildWithConfigs(build_py):
    """Builds the package with the folders that are outside it."""

    def run(self) -> None:
        """Copies the modules, and the folders to ganjax/_shipped/."""
        super().run()
        if self.editable_mode:
            return
        inside = Path(self.build_lib) / "ganjax" / "_shipped"
        shutil.rmtree(inside, ignore_errors=True)
        for folder in FOLDERS:
            shutil.copytree(folder, inside / folder, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithConfigs})
