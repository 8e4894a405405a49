"""What deploy/ holds: the image, the unit of systemd and the manifests of Kubernetes."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from code_blocks import blocks
from image_steps import instructions
from inference.conftest import save_model

from mmer.serving.settings import ServeSettings, read_serve_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
UNIT = (DEPLOY / "mmer.service").read_text(encoding="utf-8")
MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
)
POD = next(each for each in MANIFESTS if each["kind"] == "Deployment")["spec"]["template"]["spec"]


def settings(environment: dict[str, str]) -> ServeSettings:
    """As the service reads them; a name that it does not know is an error."""
    return read_serve_settings(environment=environment)


def test_the_image_sets_what_the_service_knows() -> None:
    found = dict(re.findall(r"\b(MMER_\w+)=(\S+)", DOCKERFILE))
    assert settings(found).host == "0.0.0.0"
    steps = instructions(DOCKERFILE)
    names = [name for name, _ in steps]
    last = steps[len(names) - 1 - names[::-1].index("FROM") :]
    assert ("USER", "10001:10001") in last
    assert ("ENTRYPOINT", '["mmer", "serve", "/model"]') in last
    assert "HEALTHCHECK" in dict(last)


def test_the_image_is_built_from_what_the_context_holds() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, arguments in instructions(DOCKERFILE):
        if name == "COPY" and not arguments.startswith("--from"):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists()
                assert any(fnmatch.fnmatch(source, each) for each in kept), source


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_the_unit(tmp_path: Path) -> None:
    """Its program is not installed here, so another one takes its place."""
    unit = tmp_path / "mmer.service"
    unit.write_text(UNIT.replace("/opt/mmer/bin/mmer", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_sets_what_the_service_knows(tmp_path: Path) -> None:
    found = dict(re.findall(r"\b(MMER_\w+)=(\S+)", re.sub(r"^#.*", "", UNIT, flags=re.MULTILINE)))
    assert settings(found).access_log
    assert f"TimeoutStopSec={settings({}).grace + 10:g}\n" in UNIT


@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("sh", "install", "openssl")), reason="no such programs here"
)
def test_the_commands_for_systemd_leave_the_model_readable_and_the_token_private(tmp_path: Path) -> None:
    """Whatever the umask of root is; without the commands that install packages and start the unit."""
    (commands,) = (
        block.text
        for block in blocks(ROOT / "docs" / "deploy.md")
        if block.language == "bash" and "systemctl" in block.text
    )
    for folder in ("opt/mmer", "etc/systemd/system", "my-run/model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "my-run/model/model.safetensors").write_bytes(b"weights")
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    lines = [re.sub(r" && systemctl .*", "", line) for line in commands.splitlines() if "pip" not in line]
    script = re.sub(r" /(opt|srv|etc)/", rf" {tmp_path}/\1/", "\n".join(["set -e", "umask 077", *lines]))
    for _ in range(2):  # again, as for another model
        subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    weights = tmp_path / "srv/mmer/model/model.safetensors"
    for path in (weights, weights.parent, weights.parent.parent):
        assert path.stat().st_mode & 0o004, path
    assert sorted(weights.parent.iterdir()) == [weights]
    assert (tmp_path / "etc/mmer/token").stat().st_mode & 0o077 == 0
    assert len((tmp_path / "etc/mmer/token").read_text().strip()) == 64


def test_the_manifests_set_what_the_service_knows() -> None:
    (container,) = POD["containers"]
    found = settings({variable["name"]: variable["value"] for variable in container["env"]})
    assert found.allow_host == ("mmer", "emotion.example.org")
    assert POD["terminationGracePeriodSeconds"] > found.grace
    mounted = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert str(found.token_file).startswith("/run/secrets/mmer/")
    assert mounted["/model"]["readOnly"]
    assert not mounted["/tmp"].get("readOnly")
    assert {volume["name"] for volume in POD["volumes"]} == {mount["name"] for mount in mounted.values()}
    # Otherwise Kubernetes sets MMER_PORT=tcp://..., MMER_SERVICE_HOST and more for a Service of this name.
    assert POD["enableServiceLinks"] is False
    user = int(dict(instructions(DOCKERFILE))["USER"].split(":")[0])
    assert POD["securityContext"]["runAsUser"] == user
    assert container["securityContext"]["readOnlyRootFilesystem"]


@pytest.mark.slow
def test_the_manifests_fit_the_schemas_of_kubernetes(tmp_path: Path) -> None:
    """By kubernetes-validate from the package index."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    subprocess.run([programs / "pip", "install", "-q", "kubernetes-validate"], check=True)
    manifests = DEPLOY / "kubernetes.yaml"
    validate = [programs / "kubernetes-validate", "--strict"]
    done = subprocess.run([*validate, manifests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" passed for resource ") + done.stderr.count(" passed for resource ") == 3
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(manifests.read_text().replace("readOnlyRootFilesystem", "readOnlyRootFileSystem"))
    assert subprocess.run([*validate, wrong], capture_output=True).returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="a fresh root needs root and unshare",
)
def test_the_image_without_a_container_engine(tmp_path: Path) -> None:
    """Each step in a fresh root, then the entry point as its user on a read-only root."""
    model = save_model(tmp_path / "model", missing_modality_embeddings=True)
    for file in model.iterdir():
        file.chmod(0o644)  # safetensors makes private files, and the user of the image is another one
    steps = Path(__file__).with_name("image_steps.py")
    command = ["unshare", "--mount", sys.executable, steps, ROOT, tmp_path / "image", model]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["label"]
    assert found == {
        "user": "10001",
        "write": "touch: cannot touch '/x': Read-only file system",
        "label": found["label"],
        "code": 0,
        "health": [0, 1],
    }
