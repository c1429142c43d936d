import type {
  AttachOptions,
  Attachment,
  AttachmentInfo,
  AttachmentsOptions,
  DetachOptions,
} from './attachments.js'
import type { MountConfig } from './mounts.js'
import type { SignalOption } from './options.js'
import type { ListOptions, Volume, VolumeHandle, VolumeOption } from './volumes.js'

/**
 * Options of `VolumeStore.open`.
 * @see docs/volumes.md#the-home-directory
 */
export interface VolumeStoreOptions extends SignalOption {
  /**
   * The home directory. A missing one is created with mode 0700. A path that begins with `~` is refused. Default:
   * `MSB_HOME`, which must be an absolute path, else `~/.microsandbox`.
   */
  home?: string | null
  /**
   * `'full'`: an acknowledged creation or removal of a volume survives a power cut. `'fast'`: it survives a crash of
   * the process, but perhaps not a power cut. Default: `'full'`.
   * @see docs/durability-and-crash-safety.md#durability-of-volumes
   */
  durability?: 'full' | 'fast' | null
  /**
   * How many copies (`copy`, `copyIn`, `copyOut`) of this store run at the same time, an integer from 1 to 64.
   * Further copies take turns. Other operations do not wait for copies. Default: 4.
   * @see docs/files.md#many-copies-at-once
   */
  maxConcurrentCopies?: number | null
  /**
   * Accepts a home on which other users of the host have rights, such as a Kubernetes `fsGroup` home. Without it,
   * such rights are reported by a `VolumeHomeWarning`, and a home that another user may write is refused. Default:
   * whether the environment has `SANDBOX_VOLUMES_SHARED=1`.
   * @see docs/volumes.md#a-home-of-one-user
   */
  shared?: boolean | null
}

/** Options of `VolumeStore.check`. */
export interface CheckOptions extends SignalOption {
  /** The home directory. One that does not exist has no problems. Default: `MSB_HOME`, else `~/.microsandbox`. */
  home?: string | null
  /** Repairs what can be repaired. Default: `false`, which only reports. */
  repair?: boolean | null
  /** Neither reports nor changes other users' rights on the home. See {@link VolumeStoreOptions.shared}. */
  shared?: boolean | null
}

/** A problem that `VolumeStore.check` found. */
export interface VolumeProblem {
  /**
   * What is wrong. Each kind and its repair: docs/volumes.md#check-and-repair
   * @see docs/volumes.md#check-and-repair
   */
  readonly kind:
    | 'catalog-damaged'
    | 'catalog-missing'
    | 'unknown-directory'
    | 'open-to-others'
    | 'missing-directory'
    | 'unusable-row'
    | 'incomplete-operation'
    | 'bad-image'
    | 'unrecognized-entry'
  /** The name of the volume, or `null` if the problem is not about one. */
  readonly volume: string | null
  readonly path: string
  readonly message: string
  /** Whether it was repaired. */
  readonly repaired: boolean
}

/**
 * The volumes of one home directory. The functions of the module do the same on the default home.
 * @see docs/volumes.md#the-home-directory
 */
export declare class VolumeStore {
  private constructor()
  /**
   * Opens a home. Finishes or undoes what a process that died there had begun. Rebuilds a deleted catalog from the
   * volumes' directories, with their ids, without quotas and labels.
   * @throws {CatalogError} the catalog is damaged (`VolumeStore.check` repairs it), locked for 5 seconds, or newer
   * @example
   * const store = await VolumeStore.open({ home: '/var/lib/my-agent' })
   */
  static open(options?: VolumeStoreOptions): Promise<VolumeStore>
  /**
   * Examines a home for what a manual change or an old crash left, and repairs it if `repair` is set. Deletes nothing
   * that may hold data. Updates a catalog of an earlier version.
   * @throws {CatalogError} the catalog is locked for 5 seconds, or of a newer version, which stays as it is
   * @see docs/volumes.md#check-and-repair
   */
  static check(options?: CheckOptions): Promise<VolumeProblem[]>
  /** The absolute path of the home directory. */
  readonly home: string
  /** As the module's `createVolume`, in this home. */
  createVolume(name: string, ...options: VolumeOption[]): Promise<Volume>
  /** As the module's `getVolume`, in this home. */
  getVolume(name: string, options?: SignalOption): Promise<VolumeHandle>
  /** As the module's `listVolumes`, in this home. */
  listVolumes(options?: ListOptions): Promise<VolumeHandle[]>
  /** As the module's `removeVolume`, in this home. */
  removeVolume(name: string, options?: SignalOption): Promise<void>
  /** As the module's `attach`, in this home. */
  attach(
    sandbox: string,
    mounts: Readonly<Record<string, MountConfig>>,
    options?: AttachOptions,
  ): Promise<Attachment>
  /** As the module's `attachments`, in this home. */
  attachments(options?: AttachmentsOptions): Promise<AttachmentInfo[]>
  /** As the module's `detach`, in this home. */
  detach(id: string, options?: DetachOptions): Promise<void>
}
