"""A virtual machine that runs the image: what cloud-init is told.

In: a `Job`. Out: the text of a cloud-config. A systemd unit runs the container: it is started again
after a failure and after a reboot, goes on from its checkpoint, and turns the machine off when all
is done. The results stay on the machine's disk, which the providers' requests keep; a machine of
CPUs installs Debian's or Ubuntu's docker, one with GPUs boots an image that has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from recipec.emit.jobs.job import Job
from recipec.emit.jobs.pod import GRACE_SECONDS
from recipec.emit.jobs.text import yaml_text
from recipec.errors import MISMATCH, RECIPE, TRAINING, USAGE
from recipec.recipe.rules.broken import Broken

HEAD = "#cloud-config\n"
RESULTS = "/var/lib/recipec/out"
"""Where the results lie on the machine."""
UNIT = "/etc/systemd/system/recipec.service"
DOCKER = "/usr/bin/docker"
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+-]+")

TAKES = frozenset({"machine", "spot", "max_hours", "retries", "boot"})
"""Settings that every provider takes."""


def cloud_config(job: Job) -> bytes:
    """The user data of the machine."""
    user = str(job.container.user)
    minutes = max(1, -(-job.seconds // 60))
    plain: dict[str, Any] = {}
    if not job.shape.count:
        plain |= {"package_update": True, "packages": ["docker.io"]}
    plain |= {
        "write_files": [
            {"path": UNIT, "owner": "root:root", "permissions": "0644", "content": unit(job)}
        ],
        "runcmd": [
            ["install", "-d", "-o", user, "-g", user, RESULTS],
            ["systemctl", "daemon-reload"],
            ["systemctl", "enable", "--now", "recipec.service"],
            ["shutdown", "-P", f"+{minutes}"],
        ],
    }
    return yaml_text(plain, head=HEAD)


def unit(job: Job) -> str:
    """The unit's text: what runs, what starts it again, and what ends it."""
    reference, tries = job.container.reference, job.settings.retries + 1
    final = " ".join(map(str, sorted({RECIPE, USAGE, MISMATCH, TRAINING})))
    sections: list[tuple[str, list[tuple[str, str]]]] = [
        (
            "Unit",
            [
                ("Description", f"recipec {job.name} {job.digits[:12]}"),
                ("Requires", "docker.service"),
                ("After", "docker.service network-online.target"),
                ("Wants", "network-online.target"),
                # A finished run is not begun anew when the machine is.
                ("ConditionPathExists", f"!{RESULTS}/receipt.json"),
                ("StartLimitIntervalSec", "infinity"),
                ("StartLimitBurst", str(tries)),
                ("SuccessAction", "poweroff"),
                ("FailureAction", "poweroff"),
            ],
        ),
        (
            "Service",
            [
                ("Type", "exec"),
                ("ExecStartPre", f"-{DOCKER} rm --force recipec"),
                ("ExecStartPre", words([DOCKER, "pull", "--quiet", reference])),
                ("ExecStart", words([DOCKER, "run", *_arguments(job)])),
                ("ExecStop", f"{DOCKER} stop --time {GRACE_SECONDS} recipec"),
                ("Restart", "on-failure"),
                ("RestartSec", "10"),
                ("RestartPreventExitStatus", final),
                ("TimeoutStartSec", "infinity"),
                ("TimeoutStopSec", str(GRACE_SECONDS + 10)),
            ],
        ),
        ("Install", [("WantedBy", "multi-user.target")]),
    ]
    blocks = ["\n".join([f"[{head}]", *(f"{k}={v}" for k, v in rows)]) for head, rows in sections]
    return "\n\n".join(blocks) + "\n"


def _arguments(job: Job) -> Iterator[str]:
    """What `docker run` is told."""
    yield from ("--rm", "--name", "recipec", "--network", "none", "--read-only")
    yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    yield from ("--tmpfs", "/tmp", "--shm-size", "1g")
    yield from ("--volume", f"{RESULTS}:{job.container.output}")
    if job.shape.count:
        yield from ("--gpus", "all")
    for name, value in job.environment().items():
        yield from ("--env", f"{name}={value}")
    yield from (job.container.reference, "train")


def words(arguments: list[str]) -> str:
    """A command line as a unit takes it: quoted, and a percent sign stands for itself."""
    return " ".join(
        word if _PLAIN.fullmatch(word) else '"' + _escaped(word) + '"' for word in arguments
    )


def _escaped(word: str) -> str:
    for old, new in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        word = word.replace(old, new)
    return word


def boot_fault(job: Job, pattern: re.Pattern[str], what: str, such: str) -> Iterator[Broken]:
    """A boot image that the provider would not find."""
    boot = job.settings.boot
    if boot is not None and not pattern.fullmatch(boot):
        yield job.broken("boot", f"{boot!r} is no {what}", f"such as {such}")
