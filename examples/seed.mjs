import { readdir, readFile } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'

/** Copies a directory tree of the host into a volume, all files at once. Returns `{ files, bytes }`. */
export async function seed(files, directory) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true })
  // Node.js 20.0 to 20.11 have `path` in place of `parentPath`.
  const onHost = (entry) => join(entry.parentPath ?? entry.path, entry.name)
  const inVolume = (entry) => relative(directory, onHost(entry)).split(sep).join('/')

  const directories = entries.filter((entry) => entry.isDirectory())
  await Promise.all(directories.map((entry) => files.mkdir(inVolume(entry))))

  const sizes = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const content = await readFile(onHost(entry))
        await files.write(inVolume(entry), content)
        return content.length
      }),
  )
  return { files: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) }
}
