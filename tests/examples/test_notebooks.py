"""The notebook of examples/, run as a user runs it, but shrunk."""

import os
import re

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "examples" / "train_look_compare.ipynb"
# What a session runs first: runs have four steps of the smallest networks, and measurements few
# images, whose features are means of colours.
SHRINK = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
import strict, jax
from small import shrink
import ganjax
from ganjax.metrics import features
from ganjax.metrics.layers import Activations

def colours(params, x):
    made = jax.numpy.concatenate([x.mean((1, 2)), x.std((1, 2))], -1) / 64
    return Activations(made, made, (x,))

features.NETWORKS["efflite0"] = features.NETWORKS["efflite0"]._replace(
    make_params=lambda tensors: {{}}, prepare=lambda images: images * 1.0, apply=colours
)
_train, _measure = ganjax.train, ganjax.measure
ganjax.train = lambda config, workdir, **rest: _train(shrink(config), workdir, **rest)
ganjax.measure = lambda real, fake, **rest: _measure(real[:50], fake[:50], **rest)
"""


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Runs cells of code in a kernel of Jupyter in an empty folder, and returns their outputs."""
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), before))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def run(sources):
        import nbformat
        from nbclient import NotebookClient

        cells = [nbformat.v4.new_code_cell(source) for source in (SHRINK, *sources)]
        notebook = nbformat.v4.new_notebook(cells=cells)
        resources = {"metadata": {"path": str(tmp_path)}}
        NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
        return [cell.outputs for cell in notebook.cells[1:]]

    return run


def of_type(outputs, kind):
    return [each["data"][kind] for each in outputs if kind in each.get("data", {})]


def printed(outputs):
    return "".join(each["text"] for each in outputs if each["output_type"] == "stream")


def cells():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebook_is_stored_without_outputs():
    for cell in cells():
        assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Of Jupyter's own packages.
def test_the_notebook_runs_and_shows_progress_pictures_and_figures(kernel):
    outputs = kernel(cell.source for cell in cells())
    for of_cell in outputs[1:3]:
        (page,) = of_type(of_cell, "text/html")  # One, which is replaced where it stands.
        assert "step 4 of 4" in page
        assert "samples at step 4" in page
        assert "data:image/png" in page
        said = printed(of_cell)
        assert "generator: " in said
        assert "finished at step 4" in said
        assert "d_loss" not in said, "metrics are in the page"
    assert len([each for of_cell in outputs for each in of_type(of_cell, "image/png")]) >= 5
    kid = re.findall(r"<Run runs/notebook_\w+ at step 4: .*>: KID \d+\.\d+", printed(outputs[-2]))
    assert len(kid) == 2
