"""pip's configuration, handed over to uv."""

from __future__ import annotations

import os
from pathlib import Path

from recipec.pins.sources import config_files, pip_options, wheel_sources
from recipec.pins.transport import Credential


def conf(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_nothing_configured_is_nothing_handed_over() -> None:
    sources = wheel_sources({}, files=())
    assert sources.environment == {}
    assert sources.arguments == ()
    assert sources.access.credentials == ()


def test_later_files_and_variables_win(tmp_path: Path) -> None:
    first = conf(
        tmp_path, "a", "[global]\nindex-url = http://a.example/simple\nproxy = http://p:1\n"
    )
    second = conf(tmp_path, "b", "[install]\nindex_url = http://b.example/simple\n")
    options = pip_options({"PIP_PROXY": "http://q:2"}, files=(first, second, tmp_path / "none"))
    assert options["index-url"] == "http://b.example/simple"
    assert options["proxy"] == "http://q:2"


def test_handed_over(tmp_path: Path) -> None:
    links = tmp_path / "with, comma"
    file = conf(
        tmp_path,
        "pip.conf",
        "[global]\n"
        "index-url = https://joe:s%20t@registry.example/simple\n"
        "extra-index-url = file:///srv/simple\n    https://more.example/simple\n"
        f"find-links =\n    {tmp_path}\n    http://links.example/a,b.html\n"
        "trusted-host = registry.example\ncert = /etc/ca.pem\nproxy = http://proxy.example:3128\n"
        "timeout = 9\n",
    )
    sources = wheel_sources({}, files=(file,))
    assert dict(sources.environment) == {
        "UV_FIND_LINKS": f"{tmp_path.as_uri()},http://links.example/a%2Cb.html",
        "UV_DEFAULT_INDEX": "https://joe:s%20t@registry.example/simple",
        "UV_INDEX": "file:///srv/simple https://more.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "registry.example",
        "UV_HTTP_TIMEOUT": "9",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HTTP_PROXY": "http://proxy.example:3128",
        "HTTPS_PROXY": "http://proxy.example:3128",
    }
    access = sources.access
    assert access.credentials == (Credential(host="registry.example", user="joe", password="s t"),)
    assert access.certificates == "/etc/ca.pem"
    assert access.insecure_hosts == ("registry.example",)
    assert "s%20t" not in repr(sources)
    assert "s t" not in repr(sources)
    comma = wheel_sources({"PIP_FIND_LINKS": "x,y"}, files=())
    assert comma.environment["UV_FIND_LINKS"] == f"{(Path.cwd() / 'x').as_uri()}%2Cy"
    assert links.name


def test_uv_wins(tmp_path: Path) -> None:
    file = conf(
        tmp_path,
        "pip.conf",
        "[global]\nindex-url = http://a.example\nextra-index-url = http://b.example\n"
        "find-links = /srv/wheels\nno-index = true\n",
    )
    sources = wheel_sources({"UV_INDEX": "mine=http://u:p@uv.example/simple"}, files=(file,))
    assert dict(sources.environment) == {"UV_FIND_LINKS": "file:///srv/wheels"}
    assert sources.arguments == ()
    assert sources.access.credentials == (Credential(host="uv.example", user="u", password="p"),)
    links = wheel_sources({"UV_FIND_LINKS": "/mine"}, files=(file,))
    assert "UV_FIND_LINKS" not in links.environment
    assert links.arguments == ("--no-index",)


def test_named_index_passwords() -> None:
    sources = wheel_sources(
        {
            "UV_INDEX": "my-index=http://uv.example/simple",
            "UV_INDEX_MY_INDEX_USERNAME": "joe",
            "UV_INDEX_MY_INDEX_PASSWORD": "word",
        },
        files=(),
    )
    assert sources.access.credentials == (
        Credential(host="uv.example", user="joe", password="word"),
    )


def test_where_pip_looks(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": "/a:/b"}
    assert config_files({**home, "PIP_CONFIG_FILE": os.devnull}) == ()
    places = [str(place) for place in config_files(home)]
    assert places[:3] == ["/b/pip/pip.conf", "/a/pip/pip.conf", "/etc/pip.conf"]
    assert places[3:5] == [f"{tmp_path}/.pip/pip.conf", f"{tmp_path}/.config/pip/pip.conf"]
    named = conf(tmp_path, "own.conf", "")
    with_file = [str(place) for place in config_files({**home, "PIP_CONFIG_FILE": str(named)})]
    assert with_file[-1] == str(named)
    assert f"{tmp_path}/.config/pip/pip.conf" not in with_file
