#!/bin/bash
# Installs the Debian packages named in a list (one a line, # starts a comment), without starting any service.
# Packages that are there already cost nothing: apt is called only when one is missing.
#
# usage: setup-debian.sh LIST
set -euo pipefail

list=$1
mapfile -t wanted < <(sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$list")

missing=()
for package in "${wanted[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
        echo "these Debian packages are missing: ${missing[*]}; run once as root, or install them" >&2
        exit 1
    fi
    # A policy-rc.d that answers 101 is Debian's way to say "start no service now"; one that exists is left alone.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 0755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    apt-get install -q -y --no-install-recommends "${missing[@]}"
elif [ "$(id -u)" -eq 0 ] && ! apt-cache show docker-registry > /dev/null 2>&1; then
    # The test images are made of packages that are downloaded, not installed: that needs the package lists too.
    apt-get update -q
fi
