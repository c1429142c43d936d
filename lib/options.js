'use strict'

const { isPlain } = require('./plain.js')

const VolumeKind = Object.freeze({ Dir: 'dir', Disk: 'disk' })

const withVolumeKind = (kind) => Object.freeze({ kind })
const withVolumeSize = (sizeMib) => Object.freeze({ sizeMib })
const withVolumeQuota = (quotaMib) => Object.freeze({ quotaMib })
/** A copy, so that a later change of `labels` changes nothing; what is not plain is refused where it is used. */
const withVolumeLabels = (labels) =>
  Object.freeze({ labels: isPlain(labels) ? Object.freeze({ ...labels }) : labels })

module.exports = { VolumeKind, withVolumeKind, withVolumeSize, withVolumeQuota, withVolumeLabels }
