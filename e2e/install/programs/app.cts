// A typed program: CommonJS, as `verbatimModuleSyntax` wants it to be written.
import sandboxVolumes = require('sandbox-volumes')

type Volume = sandboxVolumes.Volume
const { Mount, VolumeNotFoundError, VolumeStore } = sandboxVolumes

async function life(home: string): Promise<object> {
  const store: sandboxVolumes.VolumeStore = await VolumeStore.open({ home, durability: 'fast' })
  const volume: Volume = await store.createVolume('data', { quotaMib: 8 })
  const files = volume.fs()
  await files.writeString('seed.txt', 'hello')
  await files.write('bytes.bin', new Uint8Array([1, 2, 3]))
  const text: string = await files.readString('seed.txt')
  const bytes: number[] = [...(await files.read('bytes.bin'))]

  const attachment = await store.attach('worker', { '/data': Mount.named('data') })
  const bubblewrap = attachment.toBubblewrap().slice(-3).map((word) => (word === volume.path ? 'the volume' : word))
  const attached: unknown = await store
    .removeVolume('data')
    .catch((error: sandboxVolumes.VolumeError) => error.code)
  await attachment.detach()

  await volume.remove()
  const gone: unknown = await store
    .getVolume('data')
    .catch((error: unknown) => (error instanceof VolumeNotFoundError ? error.code : error))
  return { text, bytes, bubblewrap, attached, gone, left: (await store.listVolumes()).length }
}

life(process.env['VOLUMES_HOME'] ?? '').then((seen) => console.log(JSON.stringify(seen)))
