'use strict'

// Each name is listed so that `import { createVolume } from 'sandbox-volumes'` finds it.
const {
  VolumeStore,
  createVolume,
  getVolume,
  listVolumes,
  removeVolume,
  attach,
  attachments,
  detach,
} = require('./lib/store.js')
const { Volume, VolumeHandle } = require('./lib/volume.js')
const { VolumeFs } = require('./lib/volume-fs.js')
const { Attachment } = require('./lib/attachment.js')
const { Mount, MountKind } = require('./lib/mount.js')
const {
  VolumeKind,
  withVolumeKind,
  withVolumeSize,
  withVolumeQuota,
  withVolumeLabels,
} = require('./lib/options.js')
const {
  VolumeError,
  VolumeNotFoundError,
  VolumeAlreadyExistsError,
  VolumeInUseError,
  AttachmentNotFoundError,
  VolumeIncompatibleError,
  PathEscapeError,
  InvalidConfigError,
  QuotaExceededError,
  UnsupportedMountError,
  DiskImageError,
  CatalogError,
  FileSystemError,
  InternalError,
} = require('./lib/errors.js').errorClasses

module.exports = {
  createVolume,
  getVolume,
  listVolumes,
  removeVolume,
  attach,
  attachments,
  detach,
  VolumeStore,
  Volume,
  VolumeHandle,
  VolumeFs,
  Attachment,
  Mount,
  MountKind,
  VolumeKind,
  withVolumeKind,
  withVolumeSize,
  withVolumeQuota,
  withVolumeLabels,
  VolumeError,
  VolumeNotFoundError,
  VolumeAlreadyExistsError,
  VolumeInUseError,
  AttachmentNotFoundError,
  VolumeIncompatibleError,
  PathEscapeError,
  InvalidConfigError,
  QuotaExceededError,
  UnsupportedMountError,
  DiskImageError,
  CatalogError,
  FileSystemError,
  InternalError,
}
