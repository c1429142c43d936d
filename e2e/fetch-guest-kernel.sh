#!/usr/bin/env bash
# Fetches Debian's Linux kernel for virtual machines, for the guests of e2e/qemu.test.mjs. Nothing is installed: the
# package is unpacked, and the kernel with the few modules that the guest loads is kept in e2e/.cache/guest-kernel,
# which git ignores, and for other checkouts in the user's cache directory. Remove both to have the next run fetch a
# newer one.
set -euo pipefail
cd "$(dirname "$0")"

kept=.cache/guest-kernel
shared=${XDG_CACHE_HOME:-$HOME/.cache}/sandbox-volumes/guest-kernel
if [ -e "$kept/vmlinuz" ]; then
  echo "The guest's kernel is there: e2e/$kept"
  exit
fi

# In the order in which they are loaded; what a kernel has built in is no file.
modules=(virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk fuse virtiofs)

mkdir -p .cache
work=$(mktemp -d .cache/fetching-XXXXXX)
trap 'rm -rf "$work"' EXIT

if [ -e "$shared/vmlinuz" ]; then
  cp -R "$shared" "$work/kept"
  mv "$work/kept" "$kept"
  echo "The guest's kernel is there: e2e/$kept, as another checkout fetched it"
  exit
fi

if [ "$(id -u)" = 0 ]; then
  apt-get update -qq
fi
package=$(apt-cache depends --important linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
echo "Fetching $package"
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package")
dpkg --extract "$work"/*.deb "$work/unpacked"

mkdir -p "$work/kept/modules"
cp "$work"/unpacked/boot/vmlinuz-* "$work/kept/vmlinuz"
for at in "${!modules[@]}"; do
  found=$(find "$work/unpacked" -name "${modules[$at]}.ko*" -print -quit)
  case $found in
    '') ;;
    *.xz) xz --decompress --stdout "$found" >"$work/kept/modules/$at-${modules[$at]}.ko" ;;
    *) cp "$found" "$work/kept/modules/$at-${modules[$at]}.ko" ;;
  esac
done
mv "$work/kept" "$kept"

# Put there under another name first, so that nobody takes a half of it.
mkdir -p "$(dirname "$shared")"
copy=$(mktemp -d "$shared-XXXXXX")
cp -R "$kept/." "$copy"
mv -T "$copy" "$shared" 2>/dev/null || rm -rf "$copy"
echo "The guest's kernel is there: e2e/$kept"
