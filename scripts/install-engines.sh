#!/usr/bin/env bash
# Installs the engines, servers and emulator that the tests run against, from Debian's packages.
# Nothing is installed when they are all there. Without root it only says what is missing.
set -euo pipefail
packages=(docker.io podman buildah skopeo umoci docker-registry bubblewrap uidmap qemu-user gnupg)
missing=()
for package in "${packages[@]}"; do
    dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
        missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
    echo "the tests need: apt-get install ${missing[*]}" >&2
    exit 3
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet --quiet
# --no-install-recommends leaves out kernel helpers; policy-rc.d keeps services from starting.
printf '#!/bin/sh\nexit 101\n' >/tmp/policy-rc.d.$$
if [ ! -e /usr/sbin/policy-rc.d ]; then
    install -m 755 /tmp/policy-rc.d.$$ /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
rm -f /tmp/policy-rc.d.$$
apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}"
