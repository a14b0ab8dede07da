# The text of an mmdebstrap hook, which gets the new root as $1 and finds the kernel's release in $kernel: users,
# locale, and what makes the disk one's own. Text, because the hook's user may have no right to read this folder.
# shellcheck shell=sh disable=SC2154
set -eu
root=$1
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"; }

# What was copied in belongs to root and is readable, whoever built it and with whatever umask.
chown -R 0:0 "$root/added"
chmod -R u=rwX,go=rX "$root/added"
mv "$root/added/modules" "$root/usr/lib/modules"
cp -a "$root/added/rootfs/." "$root/"
rm -r "$root/added"
chmod 440 "$root/etc/sudoers.d/dev"
inside depmod "$kernel"

# Shells load completion at the first Tab (skel/.bashrc); this one would do it before the first prompt.
rm "$root/etc/profile.d/bash_completion.sh"

inside useradd --uid 1000 --user-group --create-home --shell /bin/bash --comment '' dev
inside install -d -o dev -g dev -m 755 /workspaces

inside localedef -i en_US -f UTF-8 en_US.UTF-8
echo 'LANG=en_US.UTF-8' >"$root/etc/default/locale"

printf 'workspace\n' >"$root/etc/hostname"
: >"$root/etc/machine-id"
# The guest agent writes the resolver's addresses at boot, and mounts what a system expects.
: >"$root/etc/resolv.conf"
: >"$root/etc/fstab"

# Left over by the installation, or different at every build (the bytecode of Python's packaging scripts, too).
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/* "$root"/var/cache/ldconfig/aux-cache \
  "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/etc/ssh/ssh_host_* "$root"/etc/*- \
  "$root"/usr/share/python3/debpython/__pycache__ \
  "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap "$root"/etc/apt/sources.list
mkdir -p "$root/var/log/apt" "$root/var/cache/apt/archives/partial" "$root/var/lib/apt/lists/partial"
inside dpkg-query -W -f '${Package} ${Version}\n' >"$root/packages"
