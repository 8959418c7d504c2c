#!/bin/sh
# Run the tests on a fresh Debian 13 (Python 3.13, ngspice 44): tools/debian13.sh DIR [MAKE ARGUMENT]...
#
# DIR becomes a chroot made by debootstrap, with a clone of HEAD in DIR/srv/cmru_hw; `make test` runs there, or make
# with the arguments given. A second run with the same DIR keeps the chroot and its virtual environment, and clones
# again. Needs root, about 4 GB of disk where PyTorch's CPU wheels can be had, and 9 GB elsewhere.
set -eu
PATH="$PATH:/sbin:/usr/sbin"
refuse() { echo "$1; usage: tools/debian13.sh DIR [MAKE ARGUMENT]..." >&2; exit 2; }
[ $# -ge 1 ] || refuse "DIR is missing"
[ "$(id -u)" -eq 0 ] || refuse "only root can make a chroot: use sudo"
command -v debootstrap >/dev/null || refuse "debootstrap is missing: run 'apt-get install debootstrap'"
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- test
cd "$(dirname "$0")/.."

if [ ! -e "$root/srv/.bootstrapped" ]; then
    debootstrap --variant=minbase --include=ca-certificates,make,git,binutils,python3,python3-venv trixie "$root"
    touch "$root/srv/.bootstrapped"
fi
# the network as it is here, with a certificate authority of its own where it has one
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"

# files that git does not know, the virtual environment above all, stay from one run to the next
[ -z "$(git status --porcelain)" ] || echo "debian13.sh: what is not committed is not tested" >&2
[ -e "$root/srv/cmru_hw/.git" ] || git init --quiet "$root/srv/cmru_hw"
git push --quiet --force "$root/srv/cmru_hw" HEAD:refs/heads/under-test
git -C "$root/srv/cmru_hw" checkout --quiet --force --detach under-test
git -C "$root/srv/cmru_hw" log -1 --format='debian13.sh: testing %h %s'

# mounts of its own end with it; so do processes that a test might leave
exec unshare --mount --pid --fork --kill-child sh -eu -c '
    root=$1
    shift
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env --chdir=/srv/cmru_hw HOME=/srv LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin make PYTHON=python3 "$@"
' sh "$root" "$@"
