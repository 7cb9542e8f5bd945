"""What these tests import of PyMDP in their own process is as lean as that of their workers."""

from tests.lean import sitecustomize

sitecustomize.install()
