// The platforms that `npm run test:platforms` runs, and what their roots are made of.

/** The files of the JavaScript suite that run where an emulator makes each of them slow. */
const EMULATED = ['api', 'fs', 'quota', 'paths', 'mount', 'mount-into'].map((name) => `${name}.test.mjs`)

/** Tools that the JavaScript suite starts. Without one, its tests are skipped. */
const TOOLS = ['bash', 'coreutils', 'dash', 'findutils', 'libc-bin', 'mount', 'python3', 'util-linux']

/** glibc 2.31. */
const bullseye = { suite: 'bullseye', libc: 'glibc' }

/** musl 1.2.5 for Node.js and the addon. The tools use the glibc of the same suite. */
const trixie = { suite: 'trixie', libc: 'musl' }

/**
 * Each platform by its name: its root, the wheel that has its Node.js, its test files (all where there are none),
 * and the emulator that runs it.
 */
export const platforms = [
  {
    name: 'linux-x64-gnu',
    root: { ...bullseye, architecture: 'amd64', packages: [...TOOLS, 'libstdc++6', 'btrfs-progs'] },
    wheel: 'manylinux_2_28_x86_64',
  },
  {
    name: 'linux-x64-musl',
    root: { ...trixie, architecture: 'amd64', packages: [...TOOLS, 'btrfs-progs', 'bubblewrap', 'musl'] },
    wheel: 'musllinux_1_2_x86_64',
  },
  {
    name: 'linux-arm64-gnu',
    root: { ...bullseye, architecture: 'arm64', packages: [...TOOLS, 'libstdc++6'] },
    wheel: 'manylinux_2_28_aarch64',
    files: EMULATED,
    emulator: 'qemu-aarch64-static',
  },
  {
    name: 'linux-arm64-musl',
    root: { ...trixie, architecture: 'arm64', packages: [...TOOLS, 'musl'] },
    wheel: 'musllinux_1_2_aarch64',
    files: EMULATED,
    emulator: 'qemu-aarch64-static',
  },
]

/** Where the emulator comes from: a package of Debian for the machine itself, which is only unpacked. */
export const emulator = { suite: 'trixie', architecture: 'amd64', packages: ['qemu-user-static'] }

/** The version of Node.js in the roots. */
export const NODE_VERSION = '24.19.0'
