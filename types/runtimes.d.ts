/** Options of `toBubblewrap`. */
export interface BubblewrapOptions {
  /**
   * The number that the first of `descriptors()` has in `bwrap`, an integer of at least 3; the others follow. With
   * Node, its index in `stdio`. Required for a `subpath`, else unused. Default: none.
   */
  firstFd?: number | null
}

/** An option of runtimes that open a `subpath` by its path. */
export interface ByPathOption {
  /**
   * `true`: names a `subpath` by its path. Only safe if no other sandbox can write a directory above it from `attach`
   * until the sandbox runs: that sandbox could put a link to host files there. `false`: refuses a `subpath`. Default:
   * `false`.
   * @see docs/mounts-and-runtimes.md#a-part-of-a-volume
   */
  byPath?: boolean | null
}

/** An entry of `mounts` in the `config.json` of an OCI runtime. */
export interface OciMount {
  destination: string
  type: string
  source: string
  options: string[]
}

/** Options of `toQemu`. */
export interface QemuOptions extends ByPathOption {
  /**
   * The absolute path of a directory that only you may write, for the sockets of the virtiofs servers. Each socket
   * path has at most 107 bytes. Required if a directory is mounted. Default: none.
   */
  socketDir?: string | null
  /**
   * The memory of the machine in MiB, an integer from 1 to 2^32 - 1. Default: 512 if a directory is mounted, else
   * QEMU's, without an argument.
   */
  memoryMib?: number | null
  /**
   * The prefix of device names, serial numbers, tags and sockets: 1 to 14 lower-case letters, digits and `-`, a
   * letter first. Choose another one for a second attachment in one machine, and for machines that share a
   * `socketDir`. Default: `'sv-mount'`.
   */
  prefix?: string | null
}

/** Arguments and commands for QEMU, its virtiofs servers and its guest. */
export interface QemuMounts {
  /** Arguments for `qemu-system-…`. */
  args: string[]
  /** One virtiofs server each. They must listen before QEMU starts. */
  virtiofs: QemuShare[]
  /** What the guest mounts, parents before their children. */
  guest: QemuGuestMount[]
}

/** A directory for a virtiofs server. */
export interface QemuShare {
  /** The tag that the guest mounts. */
  tag: string
  /** The directory of the host. */
  source: string
  /** Whether the server must refuse writes. A guest can remount a read-only mount. */
  readonly: boolean
  /** The socket on which the server listens. */
  socket: string
}

/** A mount that the guest makes. */
export interface QemuGuestMount {
  guestPath: string
  /** `virtiofs`, `tmpfs`, or the file system of a disk; `auto` if it is unknown. */
  type: string
  /** The tag of a directory. */
  tag: string | null
  /** The serial number of a disk, in `/sys/block/<disk>/serial` of the guest. */
  serial: string | null
  /** The mount options: `ro` or `rw`, `nosuid` … */
  options: string[]
  /**
   * One line for the guest's root shell (busybox or any other) that creates the mount point and mounts. Needs `/dev`
   * and `/sys`, and `/proc` for an unknown type.
   */
  command: string
}

/** Options of `toDocker`. */
export interface DockerOptions extends ByPathOption {
  /** The program for the arguments: `'docker'` 25 or `'podman'` 4, or later ones. Default: `'docker'`. */
  engine?: 'docker' | 'podman' | null
}

/** Options of `toMicrosandbox` and `configureSandbox`. */
export interface MicrosandboxOptions {
  /**
   * `true`: mounts volumes by name, for a microsandbox whose `MSB_HOME` is this home, which then enforces quotas.
   * Only for volumes in microsandbox's catalog; not for qcow2. Do not remove the volume with `msb` before the sandbox
   * runs. `false`: by path, for any microsandbox; a guest may then add 4 GiB to a directory. Default: `false`.
   * @see docs/mounts-and-runtimes.md#microsandbox
   */
  byName?: boolean | null
  /**
   * Releases the `flock` on disks, which microsandbox takes itself. Use `false` to only look at the arguments. The
   * locks against other attachments and QEMU stay until `detach()`. Default: `true`.
   */
  handOver?: boolean | null
}

/** The part of microsandbox's `SandboxBuilder` that `configureSandbox` uses. */
export interface SandboxBuilderLike {
  volume(guestPath: string, configure: (mount: any) => any): unknown
}

/** Options of `toKubernetes`. */
export interface KubernetesOptions {
  /**
   * `true`: mounts named volumes through PersistentVolumeClaims; the result has their manifests. `false`: by their
   * paths on the node; the options below are refused. Default: `false`.
   */
  claims?: boolean | null
  /** The namespace of the pod and the claims. Default: `'default'`. */
  namespace?: string | null
  /**
   * The node that has the volumes' directories, by its label `kubernetes.io/hostname`. Pods with these claims run
   * there. Default: any node, for clusters of one node.
   */
  node?: string | null
  /**
   * Claims new, empty storage of this class of the cluster. The content of the volumes is not copied. Excludes
   * `node`. Default: claims the volumes' own directories.
   */
  storageClass?: string | null
  /** The claimed size of a volume without a quota, in MiB, at least 1. Required for such a volume. Default: none. */
  storageMib?: number | null
}

/** An entry of `volumes` in the `spec` of a pod. */
export interface KubernetesVolume {
  /** `sv-mount-<place in the list of mounts>`. */
  name: string
  hostPath?: { path: string; type: 'Directory' | 'File' }
  emptyDir?: { medium: 'Memory'; sizeLimit?: string }
  persistentVolumeClaim?: { claimName: string }
}

/** An entry of `volumeMounts` of a container. */
export interface KubernetesVolumeMount {
  name: string
  mountPath: string
  /** The part of the volume that is mounted. */
  subPath?: string
  readOnly?: true
  /** Mounts below the directory are read-only too. */
  recursiveReadOnly?: 'Enabled'
}

/** The `volumes` of a pod's `spec`, and the `volumeMounts` of its container. */
export interface KubernetesMounts {
  volumes: KubernetesVolume[]
  volumeMounts: KubernetesVolumeMount[]
}

/** The `metadata` of a manifest. */
export interface KubernetesMetadata {
  name: string
  labels: { 'app.kubernetes.io/managed-by': 'sandbox-volumes' }
}

/** The manifest of a volume's directory. */
export interface KubernetesPersistentVolume {
  apiVersion: 'v1'
  kind: 'PersistentVolume'
  metadata: KubernetesMetadata
  spec: {
    capacity: { storage: string }
    accessModes: ['ReadWriteOnce']
    persistentVolumeReclaimPolicy: 'Retain'
    storageClassName: ''
    claimRef: { apiVersion: 'v1'; kind: 'PersistentVolumeClaim'; name: string; namespace: string }
    /** Without `node`. */
    hostPath?: { path: string; type: 'Directory' }
    /** With `node`. */
    local?: { path: string }
    nodeAffinity?: {
      required: {
        nodeSelectorTerms: { matchExpressions: { key: string; operator: 'In'; values: string[] }[] }[]
      }
    }
  }
}

/** The manifest of a claim to a volume. */
export interface KubernetesPersistentVolumeClaim {
  apiVersion: 'v1'
  kind: 'PersistentVolumeClaim'
  metadata: KubernetesMetadata & { namespace: string }
  spec: {
    accessModes: ['ReadWriteOnce']
    /** The volume's quota, else `storageMib`. */
    resources: { requests: { storage: string } }
    storageClassName: string
    /** The PersistentVolume, if the claim is for the volume's own directory. */
    volumeName?: string
  }
}

/** The parts of a pod, and the manifests to apply before it. */
export interface KubernetesClaims extends KubernetesMounts {
  /** One per volume; empty with `storageClass`. */
  persistentVolumes: KubernetesPersistentVolume[]
  /** One per volume, also if it is mounted several times. */
  persistentVolumeClaims: KubernetesPersistentVolumeClaim[]
}
