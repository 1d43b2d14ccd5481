"""What mkdocs does beside docs/*.md: it takes the changelog too, and refuses a page that needs a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
BORROWED = ("CHANGELOG.md",)
"""Pages that stand in the root of the repository; on the site they are beside index.md."""

CELL = re.compile(r"<td.*?</td>", re.DOTALL)

FOREIGN = re.compile(r"""<(?:script|img|iframe|link rel="stylesheet")[^>]*(?:src|href)=["']?(?:https?:)?//[^>]*>""")
"""What a browser would fetch from another machine."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs."""
    for name in BORROWED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the root of the repository lead to the same page on the site."""
    del config, files
    here = "../" * page.file.src_uri.count("/")
    for name in BORROWED:
        markdown = markdown.replace(f"]({here}../{name}", f"]({here}{name}")
    return markdown


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show a bar in a table's code as a bar: Markdown must write it with a backslash, which the renderer keeps."""
    del page, config, files
    return CELL.sub(lambda cell: cell[0].replace("\\|", "|"), html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load something from elsewhere."""
    del config
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another machine: {found[0]}")
    return output
