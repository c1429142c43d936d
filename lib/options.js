'use strict'

const { isPlain } = require('./plain.js')

const VolumeKind = Object.freeze({ Dir: 'dir', Disk: 'disk' })

const withVolumeKind = (kind) => Object.freeze({ kind })
const withVolumeSize = (sizeMib) => Object.freeze({ sizeMib })
const withVolumeQuota = (quotaMib) => Object.freeze({ quotaMib })
/**
 * Copies the labels, so that later changes have no effect. A value that is not plain is rejected where the option
 * is used.
 */
const withVolumeLabels = (labels) =>
  Object.freeze({ labels: isPlain(labels) ? Object.freeze({ ...labels }) : labels })

module.exports = { VolumeKind, withVolumeKind, withVolumeSize, withVolumeQuota, withVolumeLabels }
