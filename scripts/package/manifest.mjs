// The package.json and the README of each platform's package, from the main one's.
import { addonName, packageName, targets } from './targets.mjs'

/** The fields that all packages have in common. */
const SHARED = ['description', 'keywords', 'homepage', 'bugs', 'license', 'engines']

/**
 * Returns the package.json of a platform's package.
 *
 * @param {Record<string, any>} main The main package's.
 * @param {typeof targets[number]} target
 */
export function platformManifest(main, target) {
  const shared = Object.fromEntries(SHARED.map((field) => [field, main[field]]))
  return {
    name: packageName(target),
    version: main.version,
    ...shared,
    repository: { ...main.repository, directory: `npm/${target.platform}` },
    type: 'commonjs',
    main: addonName(target),
    files: [addonName(target)],
    os: ['linux'],
    cpu: [target.cpu],
    libc: [target.libc],
  }
}

const CPUS = { x64: 'x64 (x86-64)', arm64: 'arm64 (AArch64)' }
const LIBRARIES = { glibc: 'glibc 2.28 or later', musl: 'musl, as in Alpine Linux' }

/** Returns the README of a platform's package. */
export function platformReadme(target) {
  const { cpu, libc } = target
  return `# ${packageName(target)}

The compiled addon of [sandbox-volumes](https://github.com/sandbox-volumes/sandbox-volumes) for Linux on ${CPUS[cpu]}
with ${LIBRARIES[libc]}.

Do not install this package yourself. Run

\`\`\`sh
npm install sandbox-volumes
\`\`\`

Your package manager then installs the addon that fits the machine, because each one is an optional dependency. If
\`require('sandbox-volumes')\` cannot find this package, optional dependencies were left out (\`--omit=optional\`), or
\`node_modules\` comes from a machine of another kind.
`
}

/**
 * Returns the main package.json as it is published: without what users do not need, and with the platforms' packages as
 * optional dependencies. The checkout's has none, because npm leaves packages that no registry has out of
 * package-lock.json, and then `npm ci` refuses to run. No registry has those of a version before its release.
 */
export function publishedManifest(main) {
  const { devDependencies: _dev, scripts: _scripts, overrides: _overrides, napi: _napi, ...published } = main
  const platforms = targets.map((target) => [packageName(target), main.version])
  return { ...published, optionalDependencies: Object.fromEntries(platforms) }
}

/** Returns the text of a JSON file. */
export const jsonText = (value) => `${JSON.stringify(value, null, 2)}\n`
