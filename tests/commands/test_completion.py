"""What zsh itself completes; tests/test_commands.py has the words and bash."""

import re
import shutil

import pytest

from ganjax import completion

PROMPT = "ready> "


@pytest.fixture
def zsh(tmp_path):
    """Returns a function from a line to what zsh shows of it after a tab."""
    if not shutil.which("zsh"):
        pytest.skip("there is no zsh here")
    pexpect = pytest.importorskip("pexpect")
    (tmp_path / "_ganjax").write_text(completion.script("zsh"))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    shell = pexpect.spawn(
        "zsh",
        ["-f"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
        encoding="utf-8",
        dimensions=(60, 300),
        timeout=20,
    )
    for line in (
        # In two parts, so that the line that is echoed is not taken for the prompt.
        f"PROMPT='{PROMPT[:2]}''{PROMPT[2:]}'; unsetopt beep; LISTMAX=1000",
        f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -D -u",
    ):
        shell.sendline(line)
        shell.expect(PROMPT)

    def complete(line):
        # What is typed after the tab shows where the completed line ends.
        shell.send(f"{line}\t#")
        shell.expect("#")
        shown = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r|.\x08", "", shell.before)
        shell.sendcontrol("c")
        shell.expect(PROMPT)
        return shown

    yield complete
    shell.close(force=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # The child becomes zsh at once.
def test_zsh_completes_commands_configs_presets_fields_and_files(zsh):
    for line, completed in (
        ("ganjax tr", "ganjax train "),
        ("ganjax train wgan_gp:ce", "ganjax train wgan_gp:celeb_a "),
        ("ganjax train wgan_gp --config.n_cr", "ganjax train wgan_gp --config.n_critic="),
        ("ganjax sweep em", "ganjax sweep ema_decay "),
        ("ganjax sample interp", "ganjax sample interpolate "),
        ("ganjax sample --workdir=ru", "ganjax sample --workdir=runs/"),
        ("ganjax compare runs/m", "ganjax compare runs/mine/"),
    ):
        assert zsh(line).endswith(completed), line
    listed = zsh("ganjax train wgan_gp:").split()
    assert {"wgan_gp:celeb_a", "wgan_gp:tutorial", "wgan_gp:folder"} <= set(listed)
