"""From packages asked for to all that must be there: relations, alternatives, virtual packages."""

from __future__ import annotations

import pytest

from recipec.errors import NoSuchPackage
from recipec.pins.aptconf import Archive
from recipec.pins.debindex import PackagesFile, Universe
from recipec.pins.debrelations import groups, relations
from recipec.pins.debresolve import Unmet, resolve

PACKAGES = """base 1.0
gui 1.0 | Depends: toolkit (>= 2), theme | default-theme
toolkit 2.1 | Depends: base (>= 1.0), debconf (>= 0.5) | debconf-2.0
theme 1.0 | Depends: fonts
fonts 1.0
small-theme 1.0 | Provides: default-theme
needs-new 1.0 | Depends: toolkit (>= 3)
needs-old-or-base 1.0 | Pre-Depends: toolkit (<< 2) | base
mail 1.0 | Depends: agent
agent-b 1.0 | Provides: agent
agent-a 1.0 | Provides: agent, daemon (= 5)
agent-c 1.0 | Provides: agent/Priority: standard
wants-daemon 1.0 | Depends: daemon (>= 5)
wants-versioned-agent 1.0 | Depends: agent (>= 1)
enemy 1.0 | Conflicts: base (<< 2)
loop-a 1.0 | Depends: loop-b:any (= 1.0)
loop-b 1.0 | Depends: loop-a
twice 1.0
twice 1.0+deb12u2
twice 1.0+deb12u1
either 1.0 | Depends: theme | small-theme
asks 1.0 | Depends: either, small-theme
orphan 1.0 | Depends: libghost1 (>= 1), base
"""


def universe(*keep: str, text: str = PACKAGES) -> Universe:
    stanzas = []
    for number, line in enumerate(text.splitlines()):
        head, _, rest = line.partition(" | ")
        name, version = head.split()
        more = "".join(f"{field}\n" for field in rest.split("/") if field)
        stanzas.append(
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Filename: pool/{name}_{version}_amd64.deb\nSize: 1\nSHA256: {number:064x}\n{more}"
        )
    archive = Archive(uri="http://mirror.example", suite="bookworm", components=("main",))
    data = "\n".join(stanzas).encode()
    return Universe([PackagesFile(archive=archive, data=data)], "amd64", keep)


def names(*extra: str, where: Universe | None = None) -> list[str]:
    found = resolve(where or universe(), base=["base"], extra=extra, without={"debconf"})
    return [one.deb.package for one in found]


def test_what_a_package_depends_on_comes_along() -> None:
    assert names("gui") == ["base", "fonts", "gui", "theme", "toolkit"]


def test_the_base_is_taken_as_it_stands() -> None:
    found = resolve(universe(), base=["gui"], extra=[], without=())
    assert [one.deb.package for one in found] == ["gui"]


def test_an_alternative_that_is_there_settles_it() -> None:
    assert names("gui", "small-theme") == ["base", "gui", "small-theme", "toolkit"]
    assert names("either") == ["base", "either", "fonts", "theme"]
    # What has no alternative is settled first, whatever the order of the fields.
    assert names("asks") == ["asks", "base", "either", "small-theme"]


def test_versions_are_heeded() -> None:
    assert names("needs-old-or-base") == ["base", "needs-old-or-base"]
    with pytest.raises(Unmet) as caught:
        names("needs-new")
    assert caught.value.message == (
        "the Debian package needs-new needs toolkit (>= 3), which the configured archives do not"
        " have"
    )


def test_virtual_packages() -> None:
    # The more usual one first, then by name.
    assert names("mail") == ["agent-c", "base", "mail"]
    assert names("mail", "agent-b") == ["agent-b", "base", "mail"]
    assert names("wants-daemon") == ["agent-a", "base", "wants-daemon"]
    with pytest.raises(Unmet):
        names("wants-versioned-agent")


def test_circles_end() -> None:
    assert names("loop-a") == ["base", "loop-a", "loop-b"]


def test_packages_that_exclude_each_other() -> None:
    with pytest.raises(Unmet) as caught:
        names("enemy")
    assert caught.value.message == (
        "the Debian packages enemy and base exclude each other: enemy does not go with base (<< 2)"
    )
    assert caught.value.hint == "ask for one of them in `image.packages`"


def test_the_newest_or_the_pinned_one() -> None:
    newest = resolve(universe(), base=["twice"], extra=[], without=())
    assert newest[0].deb.version == "1.0+deb12u2"
    older = next(n for n, ln in enumerate(PACKAGES.splitlines()) if ln == "twice 1.0+deb12u1")
    kept = resolve(universe(f"sha256:{older:064x}"), base=["twice"], extra=[], without=())
    assert kept[0].deb.version == "1.0+deb12u1"
    assert kept[0].url == "http://mirror.example/pool/twice_1.0+deb12u1_amd64.deb"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("toolkid", "did you mean toolkit?"),
        ("agent", "agent is another word for one of: agent-c, agent-a, agent-b"),
        ("zzzzzzzz", "check that the mirror carries the release and component main"),
    ],
)
def test_a_name_that_is_not_there(name: str, hint: str) -> None:
    with pytest.raises(NoSuchPackage) as caught:
        names(name)
    assert caught.value.message == f"the configured Debian archives have no package {name}"
    assert (caught.value.package, caught.value.hint) == (name, hint)


def test_what_is_nowhere_is_named_with_who_needs_it() -> None:
    with pytest.raises(Unmet) as caught:
        names("orphan")
    assert "orphan needs libghost1 (>= 1)" in caught.value.message


def test_the_order_of_the_names_changes_nothing() -> None:
    several = ["gui", "mail", "loop-a", "asks"]
    assert names(*several) == names(*reversed(several))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("libc6 (>= 2.36), awk | mawk", ["libc6 (>= 2.36)", "awk/mawk"]),
        ("a:any (<<1:2~rc1-3) , b (= 1) | c,", ["a (<< 1:2~rc1-3)", "b (= 1)/c"]),
        ("x (> 1), y (< 2)", ["x (> 1)", "y (< 2)"]),
        ("", []),
        (", ,", []),
    ],
)
def test_reading_relations(text: str, expected: list[str]) -> None:
    assert ["/".join(map(str, group)) for group in groups(text)] == expected


def test_the_deprecated_operators_mean_or_equal() -> None:
    later, earlier = relations("x (> 1), y (< 2)")
    assert (later.fits("1"), later.fits("0.9")) == (True, False)
    assert (earlier.fits("2"), earlier.fits("2.1")) == (True, False)
