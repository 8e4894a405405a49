"""Optional packages that are missing, and such as are there but fail."""

from pathlib import Path

import pytest

from mmer.errors import MissingExtraError
from mmer.extras import import_extra


def test_a_package_that_is_missing_is_named_with_its_command() -> None:
    with pytest.raises(
        MissingExtraError, match=r"^this needs no_such_package; install it: pip install no_such_"
    ):
        import_extra("no_such_package", "this")
    with pytest.raises(MissingExtraError, match=r"^this needs no_such_package\.part; install it: "):
        import_extra("no_such_package.part", "this")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_dependency", "No module named 'no_such_dependency'"),
        ("from os import no_such_name", "cannot import name 'no_such_name' from 'os'"),
        ("raise OSError('libx.so: cannot open')", "libx.so: cannot open"),
        ("int('a')", "invalid literal for int()"),
    ],
)
def test_a_package_that_fails_as_it_is_imported_is_not_called_missing(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed_package.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtraError) as caught:
        import_extra("half_installed_package", "this")
    message = str(caught.value)
    assert message.startswith(
        f"this needs half_installed_package, which is installed but cannot be imported ({reason}"
    )
    assert message.endswith("); complete its installation: pip install half_installed_package")
