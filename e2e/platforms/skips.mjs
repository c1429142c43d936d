// Tests that fail on a platform for a reason that is not the platform's. They run all the same. If one passes, the run
// fails until its line is removed, unless it fails only `sometimes`.

/** Files that test the checkout, not what is installed. They do not run. */
export const checkoutOnly = {
  'package.test.mjs': 'It tests how the packages are made, for which the checkout is needed.',
  'release.test.mjs': 'It tests how a release is made, for which the checkout is needed.',
  'workflows.test.mjs': 'It tests the workflows of the checkout with an installed tool.',
}

const x64 = ['linux-x64-gnu', 'linux-x64-musl']

/** For each reason, the names of the tests by file. */
const listed = [
  {
    platforms: x64,
    reason: 'The package.json that is published has no scripts.',
    tests: { 'docs.test.mjs': ['README.md has at most 160 lines, and promises the two commands'] },
  },
  {
    platforms: x64,
    reason: 'The limits of memory are those of Node.js 20. Node.js 24, which runs here, keeps more of its own.',
    sometimes: true,
    tests: {
      'large-writes.test.mjs': ['hundreds of large writes at once hold little memory and all end'],
      'streams.test.mjs': ['1 GiB on both sides of the fourth GiB flows through in less than 64 MiB of memory'],
    },
  },
]

export const skips = listed.flatMap(({ tests, ...rest }) =>
  Object.entries(tests).flatMap(([file, names]) => names.map((test) => ({ ...rest, file, test }))),
)
