// Compiled by `tsc`, never run: every line states what the types must accept, give or refuse.
import type { PersistentVolume, PersistentVolumeClaim, PodSpec } from 'kubernetes-types/core/v1'
import {
  type AttachmentInfo,
  attach,
  attachments,
  detach,
  createVolume,
  getVolume,
  InvalidConfigError,
  listVolumes,
  Mount,
  removeVolume,
  VolumeIncompatibleError,
  VolumeInUseError,
  VolumeKind,
  VolumeStore,
  withVolumeKind,
  withVolumeLabels,
  withVolumeQuota,
  withVolumeSize,
  FileSystemError,
  type Attachment,
  type DirEntry,
  type DirListing,
  type FileKind,
  type FileMetadata,
  type MountConfig,
  type OciMount,
  type KubernetesClaims,
  type KubernetesMounts,
  type QemuMounts,
  type TransferOptions,
  type TransferSummary,
  type ReadStreamOptions,
  type Volume,
  type VolumeFs,
  type VolumeHandle,
  type WriteStreamOptions,
} from '../index.js'
import type { Readable, Writable } from 'node:stream'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function expectType<T>() {
  return <U>(_value: U, _same: Equal<T, U>): void => {}
}

const signal = new AbortController().signal

export async function lifecycle() {
  const volume = await createVolume('a', { quotaMib: 1 }, withVolumeLabels({ a: 'b' }), { signal })
  expectType<Volume>()(volume, true)
  await createVolume('b', withVolumeKind(VolumeKind.Disk), withVolumeSize(1), withVolumeQuota(0))
  const handle = await getVolume('a', { signal })
  expectType<VolumeHandle>()(handle, true)
  expectType<number | null>()(handle.quotaMib, true)
  expectType<'kernel' | 'host' | null>()(handle.quotaEnforcement, true)
  expectType<Date | null>()(handle.createdAt, true)
  expectType<'dir' | 'disk'>()(handle.kind, true)
  expectType<VolumeHandle[]>()(await listVolumes({ labels: { env: 'prod' } }), true)
  await removeVolume('a')
  await volume.remove({ signal })
  // @ts-expect-error properties are read-only
  handle.name = 'b'
  // @ts-expect-error volumes are made by stores
  new VolumeStore()
  // @ts-expect-error an unknown kind
  await createVolume('c', { kind: 'directory' })
  // @ts-expect-error an unknown option
  await createVolume('c', { quota: 1 })
}

export async function files(volume: Volume) {
  const fs = volume.fs()
  expectType<VolumeFs>()(fs, true)
  expectType<Buffer>()(await fs.read('a'), true)
  expectType<string>()(await fs.readString('a'), true)
  expectType<boolean>()(await fs.exists('a'), true)
  expectType<void>()(await fs.write('a', new Uint8Array(1), { atomic: true, durable: true, mode: 0o600 }), true)
  await fs.write('a', 'text')
  expectType<DirListing>()(fs.list('a', { recursive: true, signal }), true)
  expectType<DirEntry[]>()(await fs.list('a'), true)
  const promise: Promise<DirEntry[]> = fs.list(new Uint8Array(1))
  expectType<number>()(await promise.then((entries) => entries.length), true)
  for await (const entry of fs.list('a', { recursive: null })) {
    expectType<DirEntry>()(entry, true)
    expectType<FileKind>()(entry.kind, true)
    expectType<Date | null>()(entry.modified, true)
    await fs.read(entry.pathBytes ?? entry.path)
  }
  const metadata = await fs.stat('a', { followSymlinks: false, signal })
  expectType<FileMetadata>()(metadata, true)
  expectType<Date | null>()(metadata.created, true)
  expectType<boolean>()(metadata.readonly, true)
  expectType<void>()(await fs.rename('a', new Uint8Array(1), { signal }), true)
  // @ts-expect-error an unknown option
  fs.list('a', { depth: 1 })
  // @ts-expect-error an unknown option
  await fs.stat('a', { follow: true })
  // @ts-expect-error entries are read-only
  metadata.size = 1
  expectType<void>()(await fs.append('a', 'text', { durable: true, mode: 0o600, signal }), true)
  expectType<void>()(await fs.copy('a', new Uint8Array(1), { signal }), true)
  const options: TransferOptions = { links: 'skip', filter: (path, kind) => kind !== 'symlink' && path !== 'x', signal }
  const summary = await fs.copyIn('/a', 'b', { ...options, onProgress: ({ files, bytes, path }) => [files, bytes, path] })
  expectType<TransferSummary>()(summary, true)
  expectType<number>()((await fs.copyOut('b', '/a', options)).skippedLinks, true)
  // @ts-expect-error a filter answers at once
  await fs.copyIn('/a', 'b', { filter: async () => true })
  // @ts-expect-error links are never followed
  await fs.copyOut('a', '/b', { links: 'follow' })
  // @ts-expect-error data is bytes or text
  await fs.write('a', 1)
  // @ts-expect-error no encoding
  await fs.readString('a', 'utf8')
}

export function streams(fs: VolumeFs) {
  expectType<Readable>()(fs.readStream('a', { start: 1, end: 2, highWaterMark: 1024, signal }), true)
  expectType<Readable>()(fs.readStream(new Uint8Array(1)), true)
  expectType<Writable>()(fs.writeStream('a', { atomic: true, durable: true, mode: 0o600, signal }), true)
  const options: WriteStreamOptions = { append: true, highWaterMark: null, signal: null }
  fs.readStream('a').pipe(fs.writeStream('b', options))
  fs.writeStream('a', { start: 7 })
  const range: ReadStreamOptions = { start: null }
  // @ts-expect-error an encoding is set by setEncoding
  fs.readStream('a', { ...range, encoding: 'utf8' })
  // @ts-expect-error no flags
  fs.writeStream('a', { flags: 'a' })
  // @ts-expect-error a stream is no promise
  fs.readStream('a').then(() => {})
}

export async function mounts(store: VolumeStore) {
  const mounts: Record<string, MountConfig> = {
    '/a': Mount.bind('/a', { readonly: true, statVirtualization: 'off' }),
    '/b': Mount.named('b'),
    '/c': Mount.namedWith('c', { noexec: true }, { mode: 'ensure-exists', kind: 'dir', quotaMib: 1 }),
    '/d': Mount.tmpfs({ sizeMib: 1 }),
    '/f': Mount.named(await store.getVolume('f'), { subpath: 'a' }),
    '/g': Mount.namedWith(await store.createVolume('g'), {}, { mode: 'existing' }),
    '/e': Mount.disk('e.qcow2', { format: 'qcow2', fstype: 'ext4' }),
  }
  const attachment = await attach('worker', mounts, { pid: 1, signal })
  expectType<void>()(await attachment.handOver(1, { signal }), true)
  // @ts-expect-error a process has a number
  attachment.handOver('1')
  expectType<readonly AttachmentInfo[]>()(await attachments({ volume: 'b', sandbox: 'worker', signal }), false)
  const [info] = await store.attachments()
  expectType<'running' | 'unknown'>()(info!.owner, true)
  expectType<string | null>()(info!.volumes[0]!.guestPath, true)
  expectType<void>()(await detach(info!.id, { force: true, signal }), true)
  // @ts-expect-error read only
  info!.pid = 1
  // @ts-expect-error an id is text
  store.detach(1)
  expectType<Attachment>()(attachment, true)
  expectType<string[]>()(attachment.toBubblewrap(), true)
  expectType<string[]>()(attachment.toBubblewrap({ firstFd: 3 }), true)
  expectType<number[]>()(attachment.descriptors(), true)
  expectType<string | null>()(Mount.named('b', { subpath: 'a', readonly: true }).subpath, true)
  expectType<string | null>()(Mount.named('b').volumeId, true)
  expectType<string>()((await store.getVolume('f')).id, true)
  // @ts-expect-error an object that is no volume
  Mount.named({ name: 'b', id: '' })
  expectType<string | null>()(attachment.mounts[0]!.subpath, true)
  // @ts-expect-error a bind mount has its own path
  Mount.bind('/a', { subpath: 'a' })
  expectType<OciMount[]>()(attachment.toOci(), true)
  const qemu = attachment.toQemu({ socketDir: '/run/vm', memoryMib: 1024 })
  expectType<QemuMounts>()(qemu, true)
  expectType<string[]>()(qemu.args, true)
  expectType<boolean>()(qemu.virtiofs[0]!.readonly, true)
  expectType<string | null>()(qemu.guest[0]!.serial, true)
  attachment.toQemu()
  // @ts-expect-error an unknown option
  attachment.toQemu({ memory: 1024 })
  expectType<string[]>()(attachment.toDocker(), true)
  attachment.toDocker({ engine: 'podman' })
  // @ts-expect-error an unknown engine
  attachment.toDocker({ engine: 'nerdctl' })
  expectType<string[]>()(attachment.toMicrosandbox({ byName: true }), true)
  // @ts-expect-error an unknown option
  attachment.toMicrosandbox({ home: '/' })
  await using _disposed = await store.attach('worker', JSON.parse(JSON.stringify(mounts)))
  // @ts-expect-error virtiofs only
  Mount.tmpfs({ statVirtualization: 'off' })
}

/** The shape of microsandbox's own classes, as far as they concern mounts. */
declare class MicrosandboxBuilder {
  volume(guestPath: string, configure: (mount: MicrosandboxMount) => MicrosandboxMount): this
  cpus(count: number): this
}
declare class MicrosandboxMount {
  bind(host: string): this
}

export function sandboxBuilder(attachment: Attachment, builder: MicrosandboxBuilder) {
  expectType<MicrosandboxBuilder>()(attachment.configureSandbox(builder), true)
  attachment.configureSandbox(builder, { byName: true }).cpus(2)
  // @ts-expect-error no builder
  attachment.configureSandbox({})
}

export async function mountedInto(attachment: Attachment, signal: AbortSignal) {
  expectType<void>()(await attachment.mountInto('/srv/rootfs', { signal }), true)
  expectType<void>()(await attachment.unmount(), true)
  // @ts-expect-error no root directory
  attachment.mountInto()
}

/** What is rendered is what Kubernetes' own types say. */
export function kubernetes(attachment: Attachment) {
  const mounts = attachment.toKubernetes()
  expectType<KubernetesMounts>()(mounts, true)
  const spec: PodSpec = {
    containers: [{ name: 'worker', image: 'busybox', volumeMounts: mounts.volumeMounts }],
    volumes: mounts.volumes,
  }
  const claims = attachment.toKubernetes({ claims: true, namespace: 'sandboxes', node: 'worker-1', storageMib: 64 })
  expectType<KubernetesClaims>()(claims, true)
  const manifests: (PersistentVolume | PersistentVolumeClaim)[] = [
    ...(claims.persistentVolumes satisfies PersistentVolume[]),
    ...(claims.persistentVolumeClaims satisfies PersistentVolumeClaim[]),
  ]
  // @ts-expect-error claims only where they are asked for
  mounts.persistentVolumeClaims
  // @ts-expect-error only used with claims
  attachment.toKubernetes({ claim: true })
  return { spec, manifests }
}

export function errors(error: unknown) {
  if (error instanceof VolumeInUseError) expectType<string[] | undefined>()(error.sandboxes, true)
  if (error instanceof VolumeInUseError) expectType<number>()(error.holders![0]!.pid, true)
  if (error instanceof VolumeIncompatibleError) expectType<string>()(error.differences[0]!.wanted, true)
  if (error instanceof FileSystemError) expectType<string | undefined>()(error.dest, true)
  if (error instanceof InvalidConfigError) expectType<string>()(error.field, true)
  if (error instanceof InvalidConfigError) expectType<'ERR_INVALID_CONFIG'>()(error.code, true)
}
