"""The notebook runs from its first cell to its last."""

import os
import pathlib
import re
import tempfile
import unittest

import nbclient
import nbformat
import pytest

from tests.testing import tiny_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_NOTEBOOK = pathlib.Path(__file__).parents[2] / 'examples' / 'quickstart.ipynb'


def _printed(cell):
  return ''.join(
    output.get('text', '') for output in cell.outputs if output.get('name') == 'stdout'
  )


class NotebookTest(unittest.TestCase):
  def test_it_is_committed_without_outputs(self):
    notebook = nbformat.read(_NOTEBOOK, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    self.assertEqual([cell.outputs for cell in code], [[]] * len(code))
    self.assertEqual({cell.execution_count for cell in code}, {None})

  def test_it_runs(self):
    notebook = nbformat.read(_NOTEBOOK, 4)
    cells = {cell.id: cell for cell in notebook.cells}
    (parameters,) = [
      cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', ())
    ]
    files = [f'--config_file={path}' for path in tiny_run.config_files()]
    self.assertRegex(parameters.source, r'(?m)^more = \[\]$')
    parameters.source = re.sub(r'(?m)^more = \[\]$', f'more = {files}', parameters.source)
    with tempfile.TemporaryDirectory() as folder:
      client = nbclient.NotebookClient(
        notebook, timeout=800, resources={'metadata': {'path': folder}}
      )
      client.execute(env={**os.environ, 'PYTHONPATH': str(_NOTEBOOK.parents[1])})
      self.assertTrue(os.path.exists(os.path.join(folder, 'runs/quickstart/report.html')))
    code = [cell for cell in cells.values() if cell.cell_type == 'code']
    results, detections, picture = code[-3:]
    self.assertRegex(_printed(results), r'teacher  AP \d\.\d{3}\ncontrol  AP \d\.\d{3}\nstudent ')
    self.assertRegex(_printed(detections), r'(?m)^[0-9] 0\.\d{3} \[')
    (shown,) = picture.outputs
    self.assertIn('image/png', shown.data)


if __name__ == '__main__':
  unittest.main()
