"""The dashboard's files: what is vendored is unchanged, nothing is inline, nothing comes from elsewhere, every import leads somewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from proxy.admin.pages import WEB, read_files

VENDOR = WEB / "vendor"
OURS = [p for p in sorted(WEB.rglob("*")) if p.suffix in (".js", ".css", ".html") and VENDOR not in p.parents]
SCRIPTS = [p for p in OURS if p.suffix == ".js"]


def name(path: Path) -> str:
    return path.relative_to(WEB).as_posix()


def test_vendored_files_are_those_of_the_list_and_unchanged() -> None:
    listed = dict(re.findall(r"^\| `([^`]+)` \|.*\| `([0-9a-f]{64})` \|$", VENDOR.joinpath("README.md").read_text(), re.MULTILINE))
    assert set(listed) == {p.name for p in VENDOR.iterdir() if p.suffix == ".js"}
    for file, digest in listed.items():
        assert hashlib.sha256(VENDOR.joinpath(file).read_bytes()).hexdigest() == digest, file
    for licence in set(re.findall(r"`(LICENSE\.\w+)`", VENDOR.joinpath("README.md").read_text())):
        assert VENDOR.joinpath(licence).is_file()


@pytest.mark.parametrize("path", OURS, ids=name)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=\"|\son[a-z]+=\"|<style|javascript:|innerHTML|dangerously|\beval\(|new Function", text)
    assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>", text)
    addresses = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    assert [a for a in addresses if not a.startswith("http://www.w3.org/")] == []
    assert len(text.splitlines()) <= 350


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_imports_lead_to_files_that_give_what_is_asked(path: Path) -> None:
    for names, where in re.findall(r"import\s*\{([^}]*)\}\s*from\s*\"([^\"]+)\"", path.read_text(encoding="utf-8")):
        target = (path.parent / where).resolve()
        assert target.is_file(), f"{name(path)} imports {where}"
        given = target.read_text(encoding="utf-8")
        exported = set(re.findall(r"export (?:async )?(?:function|const|let|class) (\w+)", given))
        for group in re.findall(r"export \{([^}]*)\}", given):
            exported |= {n.strip() for n in group.split(",")}
        assert {n.strip() for n in names.split(",") if n.strip()} <= exported, f"{name(path)} from {where}"


def test_the_page_asks_only_for_files_that_are_served() -> None:
    served = read_files()
    asked = re.findall(r"(?:src|href)=\"(/[^\"]+)\"", WEB.joinpath("index.html").read_text(encoding="utf-8"))
    assert len(asked) >= 8
    for address in asked:
        assert address.removeprefix("/web/") in served, address


def test_every_module_is_reached_from_the_page() -> None:
    seen: set[Path] = set()
    todo = [WEB / "js" / "app.js", WEB / "js" / "begin.js"]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += [(path.parent / where).resolve() for where in re.findall(r"from\s*\"([^\"]+)\"", path.read_text(encoding="utf-8"))]
    assert {name(p) for p in SCRIPTS} == {name(p) for p in seen}


def test_every_module_is_asked_for_at_once_and_not_one_after_another() -> None:
    asked = re.findall(r"rel=\"modulepreload\" href=\"/web/([^\"]+)\"", WEB.joinpath("index.html").read_text(encoding="utf-8"))
    assert asked == sorted({name(p) for p in SCRIPTS} - {"js/app.js", "js/begin.js"})
