"""Hooks of the documentation site (mkdocs.yml): pages that lie outside docs/, and the reference from docstrings.

Documents link to each other as they lie in the repository, so that they also work there. On the site, docs/ is the
root, README is the first page, and experiments/ lies beside the pages of docs/.
"""

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parents[1]
_PACKAGE = 'official_selftrain'
# Site page by file of the repository; what is in docs/ keeps its name.
_PAGES = {
  'README.md': 'index.md',
  **{
    name: name
    for name in (
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'experiments/README.md',
      'experiments/results/README.md',
    )
  },
}
_LINK = re.compile(r'(\]\()([^)#\s:]+)(#[^)\s]*)?(\))')
_REFERENCE = 'reference'


def site_path(repository_path: str) -> str:
  """Where a file of the repository lies on the site, both relative and with slashes."""
  return _PAGES.get(repository_path, repository_path.removeprefix('docs/'))


def _repository_path(page: str) -> str:
  for path, found in _PAGES.items():
    if found == page:
      return path
  return f'docs/{page}'


def layers() -> dict[str, list[str]]:
  """Dotted names of the public modules by layer: a package in official_selftrain, or `programs`."""
  found: dict[str, list[str]] = {}
  for path in sorted((ROOT / _PACKAGE).rglob('*.py')):
    parts = path.relative_to(ROOT).with_suffix('').parts
    if path.name.startswith('_'):
      continue
    layer = parts[1] if len(parts) > 2 else 'programs'
    found.setdefault(layer, []).append('.'.join(parts))
  return found


def _linked(markdown: str) -> list[str]:
  """Files of the repository that a document links to, as it writes them."""
  return [match[2] for match in _LINK.finditer(markdown)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
  """Adds the pages from outside docs/, what they link to, and a page of reference for each layer."""
  for path, page in _PAGES.items():
    files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
  for path in [*_PAGES, *(str(p.relative_to(ROOT)) for p in (ROOT / 'docs').glob('*.md'))]:
    for link in _linked((ROOT / path).read_text(encoding='utf-8')):
      target = posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
      is_page = target in _PAGES or target.startswith('docs/')
      source = ROOT / target
      if not is_page and source.is_file() and files.get_file_from_path(target) is None:
        files.append(File.generated(config, target, abs_src_path=str(source)))
  for layer, modules in layers().items():
    text = f'# {layer}\n\n' + '\n\n'.join(f'::: {module}' for module in modules) + '\n'
    files.append(File.generated(config, f'{_REFERENCE}/{layer}.md', content=text))
  return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
  """Puts the pages of the reference into the navigation."""
  pages = [{layer: f'{_REFERENCE}/{layer}.md'} for layer in layers()]
  _replace(config.nav, pages)
  return config


def _replace(nav: Any, pages: list[dict[str, str]]) -> None:
  for entry in nav:
    for title, value in entry.items() if isinstance(entry, dict) else ():
      if value == _REFERENCE:
        entry[title] = pages
      elif isinstance(value, list):
        _replace(value, pages)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
  """Turns links between files of the repository into links between files of the site."""
  del config, files
  here = page.file.src_uri
  if here.startswith(f'{_REFERENCE}/'):
    return markdown
  origin = posixpath.dirname(_repository_path(here))

  def link(match: re.Match[str]) -> str:
    target = posixpath.normpath(posixpath.join(origin, match[2]))
    found = posixpath.relpath(site_path(target), posixpath.dirname(here) or '.')
    return f'{match[1]}{found}{match[3] or ""}{match[4]}'

  return _LINK.sub(link, markdown)
