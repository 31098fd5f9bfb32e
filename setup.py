"""Builds the DuckDB extension with the package; everything else stands in pyproject.toml."""

import importlib.util
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

SHELL = Path(__file__).parent / "shell"


def build_module():
    """Load shell/build.py: the package is not installed yet."""
    spec = importlib.util.spec_from_file_location("shell_build", SHELL / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildWithExtension(build_py):
    """Compiles the extension into the package, or goes on without it."""

    def run(self):  # noqa: D102
        super().run()
        build = build_module()
        folder = SHELL if self.editable_mode else Path(self.build_lib, "thresher", "shell")
        try:
            build.build(folder / build.EXTENSION, self.distribution.get_version())
        except build.BuildError as error:
            self.warn(f"`thresher shell` will not work: {error}")


class PlatformWheel(bdist_wheel):
    """A wheel that holds the extension is one for this platform, and for any Python 3."""

    def get_tag(self):  # noqa: D102
        folder = Path(self.get_finalized_command("build_py").build_lib, "thresher", "shell")
        self.root_is_pure = not (folder / build_module().EXTENSION).exists()
        python, abi, platform = super().get_tag()
        return (python, abi, platform) if self.root_is_pure else ("py3", "none", platform)


setup(cmdclass={"build_py": BuildWithExtension, "bdist_wheel": PlatformWheel})
