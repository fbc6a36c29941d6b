"""docs/configuration.md says what the settings are."""

from __future__ import annotations

from pathlib import Path

from proxy.settings.document import document
from proxy.settings.environment import settable, variable
from proxy.settings.fields import keys
from proxy.settings.sections import Settings
from proxy.settings.upstreams import ModelRule, Provider

ROOT = Path(__file__).parents[2]


def test_the_page_is_not_stale() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == document(), "run: python -m proxy.settings.document > docs/configuration.md"


def test_every_setting_and_variable_is_on_the_page() -> None:
    page = document()
    for name in keys(Settings):
        assert f"`{name}`" in page
    for path, _ in settable(Settings):
        assert f"`{variable(path)}`" in page
    for of, prefix in ((Provider, "providers.NAME"), (ModelRule, "models.PATTERN")):
        for name, setting in keys(of).items():
            assert f"`{prefix}.{name}`" in page
            assert setting.metadata["doc"] in page
