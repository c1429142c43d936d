// The program of every row: it takes a volume through its life, and returns what it saw. `program.mjs` puts this text
// into ES modules, CommonJS modules and test files.
export async function life({ VolumeStore, Mount, VolumeNotFoundError }, home) {
  const store = await VolumeStore.open({ home, durability: 'fast' })
  const volume = await store.createVolume('data', { quotaMib: 8, labels: { of: 'install' } })
  const files = volume.fs()
  await files.writeString('seed.txt', 'hello')
  await files.write('bytes.bin', new Uint8Array([1, 2, 3]))
  const text = await files.readString('seed.txt')
  const bytes = [...(await files.read('bytes.bin'))]

  const mounts = await store.attach('worker', { '/data': Mount.named('data') })
  // As root, options about capabilities precede these three words.
  const bubblewrap = mounts.toBubblewrap().slice(-3).map((word) => (word === volume.path ? 'the volume' : word))
  const attached = await store.removeVolume('data').catch(({ code }) => code)
  await mounts.detach()

  await volume.remove()
  const expected = (error) => (error instanceof VolumeNotFoundError ? error.code : error)
  const gone = await store.getVolume('data').catch(expected)
  return { text, bytes, bubblewrap, attached, gone, left: (await store.listVolumes()).length }
}
