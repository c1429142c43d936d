// A typed program: ES module syntax, with every strict option of the compiler.
import {
  FileSystemError,
  Mount,
  VolumeError,
  VolumeNotFoundError,
  VolumeStore,
  type Attachment,
  type MountConfig,
  type Volume,
  type VolumeOption,
} from 'sandbox-volumes'

const home: string = process.env['VOLUMES_HOME'] ?? ''
const options: VolumeOption = { quotaMib: 8, labels: { of: 'install' } }

const store: VolumeStore = await VolumeStore.open({ home, durability: 'fast' })
const volume: Volume = await store.createVolume('data', options)
const files = volume.fs()
await files.writeString('seed.txt', 'hello')
await files.write('bytes.bin', new Uint8Array([1, 2, 3]))
const text: string = await files.readString('seed.txt')
const bytes: number[] = [...(await files.read('bytes.bin'))]

const missing = await files.read('missing.txt').catch((error: unknown) => error)
if (!(missing instanceof FileSystemError) || missing.code !== 'ENOENT') throw missing

// @ts-expect-error: the options are checked
await store.createVolume('other', { quotaMiB: 8 }).catch((error: unknown) => {
  if (!(error instanceof VolumeError)) throw error
})

const mounts: Record<string, MountConfig> = { '/data': Mount.named('data') }
const attachment: Attachment = await store.attach('worker', mounts)
const bubblewrap = attachment
  .toBubblewrap()
  .slice(-3)
  .map((word: string) => (word === volume.path ? 'the volume' : word))
const attached: unknown = await store.removeVolume('data').catch((error: VolumeError) => error.code)
await attachment.detach()

await volume.remove()
const gone: unknown = await store
  .getVolume('data')
  .catch((error: unknown) => (error instanceof VolumeNotFoundError ? error.code : error))
console.log(JSON.stringify({ text, bytes, bubblewrap, attached, gone, left: (await store.listVolumes()).length }))
